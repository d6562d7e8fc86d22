/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The export type fuse: a node as a file.  Its life, and the queues that
 * requests come from.
 *
 * A pass reads requests until there are no more, each into a coroutine, within
 * one section of defer_call().  The number of requests of a queue is bounded:
 * when all are in use, nothing is read until one is free.
 */
#define FUSE_USE_VERSION 31
#include "qemu/osdep.h"
#include <fuse_lowlevel.h>
#include <sys/ioctl.h>
#include "fuse.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

/* --- queues --- */

static void queue_readable(void *opaque);

static void queue_watch(FuseQueue *q)
{
    aio_set_fd_handler(q->common.ctx, q->fd, q->running && !q->full ?
                       queue_readable : NULL, NULL, NULL, NULL, q);
}

static FuseReq *queue_get_req(FuseQueue *q)
{
    FuseReq *req = q->free_reqs;

    if (req) {
        q->free_reqs = req->next;
        return req;
    }
    if (q->n_reqs == FUSE_EXPORT_MAX_REQUESTS) {
        return NULL;
    }
    req = g_new0(FuseReq, 1);
    req->data = qemu_try_memalign(qemu_real_host_page_size(),
                                  FUSE_EXPORT_MAX_IO + FUSE_MIN_READ_BUFFER);
    if (!req->data) {
        g_free(req);
        return NULL;
    }
    req->q = q;
    q->n_reqs++;
    return req;
}

static void queue_put_req(FuseQueue *q, FuseReq *req)
{
    req->next = q->free_reqs;
    q->free_reqs = req;
}

void coroutine_fn fuse_req_done(FuseReq *req)
{
    FuseQueue *q = req->q;

    queue_put_req(q, req);
    if (q->full) {
        q->full = false;
        queue_watch(q);
    }
    export_queue_end_request(&q->common);
}

/* One request; 1: there was one; 0: there is none now; -errno. */
static int queue_read(FuseQueue *q, FuseReq *req)
{
    struct iovec iov[] = {
        { &req->in, sizeof(req->in) },
        { req->data, FUSE_EXPORT_MAX_IO + FUSE_MIN_READ_BUFFER },
    };
    ssize_t n;

    do {
        n = readv(q->fd, iov, ARRAY_SIZE(iov));
        /* ENOENT: the request was taken back before it was read. */
    } while (n < 0 && (errno == EINTR || errno == ENOENT));
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    if (n < (ssize_t)sizeof(req->in.header)) {
        return -EIO;
    }
    req->len = n;
    return 1;
}

static void queue_readable(void *opaque)
{
    FuseQueue *q = opaque;
    unsigned budget = FUSE_EXPORT_MAX_REQUESTS;
    int ret = 1;

    export_queue_begin_pass(&q->common);
    while (q->running && budget-- && ret > 0) {
        FuseReq *req = queue_get_req(q);

        if (!req) {
            /* With no memory for the first one there is nobody to wake us. */
            q->full = q->common.in_flight;
            break;
        }
        ret = queue_read(q, req);
        if (ret <= 0) {
            queue_put_req(q, req);
            break;
        }
        export_queue_begin_request(&q->common);
        qemu_coroutine_enter(qemu_coroutine_create(fuse_req_entry, req));
    }
    export_queue_end_pass(&q->common);
    if (ret < 0) {
        /* ENODEV: it is unmounted.  Others would come again and again. */
        q->running = false;
        qemu_bh_schedule(q->exp->gone_bh);
    }
    if (q->full || !q->running) {
        queue_watch(q);
    }
}

/* In the home thread, which walks its list of handlers. */
static void queue_start_bh(void *opaque)
{
    FuseQueue *q = opaque;

    q->started = q->running = true;
    queue_watch(q);
}

/*
 * Nothing waits for that: in an event loop the file could be unmounted, and
 * the export end, before it is on the list.
 */
static void queue_start(FuseQueue *q)
{
    if (q->common.ctx == qemu_get_aio_context()) {
        queue_start_bh(q);
    } else {
        aio_bh_schedule_oneshot(q->common.ctx, queue_start_bh, q);
    }
}

/* From the main thread, and back there afterwards. */
static void coroutine_fn queue_stop(FuseQueue *q)
{
    aio_co_reschedule_self(q->common.ctx);
    while (!q->started) {
        aio_co_give_way();      /* its bottom half is still on its way */
    }
    q->running = false;
    queue_watch(q);
    export_queue_wait_idle(&q->common);
    aio_co_reschedule_self(qemu_get_aio_context());
}

static void queue_destroy(FuseQueue *q)
{
    FuseReq *req;

    while ((req = q->free_reqs)) {
        q->free_reqs = req->next;
        qemu_vfree(req->data);
        g_free(req);
    }
    /* The first one is libfuse's. */
    if (q != q->exp->queues && q->fd >= 0) {
        close(q->fd);
    }
}

/* Another descriptor for the connection of @fd. */
static int clone_fd(int fd, Error **errp)
{
    uint32_t session = fd;
    int new_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (new_fd < 0 || ioctl(new_fd, FUSE_DEV_IOC_CLONE, &session) < 0) {
        error_setg_errno(errp, errno, "Cannot use several threads for FUSE");
        if (new_fd >= 0) {
            close(new_fd);
        }
        return -1;
    }
    return new_fd;
}

/* --- mounting --- */

/* libfuse's last message; it returns no errors. */
static char last_message[256];

static void G_GNUC_PRINTF(2, 0) log_message(enum fuse_log_level level,
                                            const char *fmt, va_list ap)
{
    vsnprintf(last_message, sizeof(last_message), fmt, ap);
    last_message[strcspn(last_message, "\n")] = '\0';
}

static bool mount_with(FuseExport *exp, bool allow_other)
{
    static const struct fuse_lowlevel_ops no_ops;
    g_autofree char *options =
        g_strdup_printf("fsname=qemu-storage-daemon,nosuid,nodev,noatime,"
                        "max_read=%d%s", (int)FUSE_EXPORT_MAX_IO,
                        allow_other ? ",default_permissions,allow_other" : "");
    char *argv[] = { (char *)"", (char *)"-o", options, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);

    last_message[0] = '\0';
    exp->session = fuse_session_new(&args, &no_ops, sizeof(no_ops), NULL);
    if (exp->session &&
        fuse_session_mount(exp->session, exp->mountpoint) < 0) {
        fuse_session_destroy(g_steal_pointer(&exp->session));
    }
    fuse_opt_free_args(&args);
    return exp->session;
}

static bool mount_export(FuseExport *exp, FuseExportAllowOther allow_other,
                         Error **errp)
{
    /* By way of another type: the library's lacks the attribute. */
    fuse_set_log_func((fuse_log_func_t)(void (*)(void))log_message);
    if (allow_other != FUSE_EXPORT_ALLOW_OTHER_OFF && mount_with(exp, true)) {
        return true;
    }
    if (allow_other != FUSE_EXPORT_ALLOW_OTHER_ON && mount_with(exp, false)) {
        return true;
    }
    error_setg(errp, "Failed to mount FUSE session to export at '%s'%s%s",
               exp->mountpoint, last_message[0] ? ": " : "", last_message);
    return false;
}

static bool make_queues(FuseExport *exp, Error **errp)
{
    int fd = fuse_session_fd(exp->session), flags = fcntl(fd, F_GETFL);
    unsigned i;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        error_setg_errno(errp, errno, "Failed to make FUSE FD non-blocking");
        return false;
    }
    exp->queues = g_new0(FuseQueue, exp->common.n_ctxs);
    for (i = 0; i < exp->common.n_ctxs; i++) {
        FuseQueue *q = &exp->queues[i];

        q->exp = exp;
        q->common.ctx = exp->common.ctxs[i];
        q->fd = i ? clone_fd(fd, errp) : fd;
        if (q->fd < 0) {
            return false;
        }
        exp->n_queues++;
    }
    return true;
}

static void unmount_export(FuseExport *exp)
{
    if (exp->session) {
        fuse_session_unmount(exp->session);
        fuse_session_destroy(g_steal_pointer(&exp->session));
    }
}

static void destroy_queues(FuseExport *exp)
{
    unsigned i;

    for (i = 0; i < exp->n_queues; i++) {
        queue_destroy(&exp->queues[i]);
    }
    g_clear_pointer(&exp->queues, g_free);
}

/* --- the export --- */

static void gone_bh(void *opaque)
{
    FuseExport *exp = opaque;

    blk_exp_request_shutdown(&exp->common);
}

static bool check_mountpoint(const char *path, Error **errp)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        error_setg_errno(errp, errno, "Failed to stat '%s'", path);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        error_setg(errp, "'%s' is not a regular file", path);
        return false;
    }
    return true;
}

static bool set_permissions(FuseExport *exp, Error **errp)
{
    BlockBackend *blk = exp->common.blk;
    uint64_t perm, shared;

    if (!exp->growable) {
        return true;
    }
    blk_get_perm(blk, &perm, &shared);
    return blk_set_perm(blk, perm | BLK_PERM_RESIZE, shared, errp) == 0;
}

static bool fuse_create(BlockExport *common, const BlockExportOptions *opts,
                        Error **errp)
{
    FuseExport *exp = container_of(common, FuseExport, common);
    const BlockExportOptionsFuse *o = &opts->u.fuse;
    unsigned i;

    exp->writable = opts->has_writable && opts->writable;
    exp->growable = o->has_growable && o->growable;
    if (exp->growable && !exp->writable) {
        error_setg(errp, "A FUSE export that is growable must be writable");
        return false;
    }
    if (!check_mountpoint(o->mountpoint, errp) ||
        !set_permissions(exp, errp)) {
        return false;
    }
    exp->mode = exp->writable ? 0600 : 0400;
    exp->uid = getuid();
    exp->gid = getgid();
    exp->mtime = time(NULL);
    exp->mountpoint = g_strdup(o->mountpoint);
    qemu_co_mutex_init(&exp->resize_lock);
    if (!mount_export(exp, o->has_allow_other ? o->allow_other :
                      FUSE_EXPORT_ALLOW_OTHER_AUTO, errp) ||
        !make_queues(exp, errp)) {
        destroy_queues(exp);
        unmount_export(exp);
        g_free(exp->mountpoint);
        return false;
    }
    exp->gone_bh = aio_bh_new(qemu_get_aio_context(), gone_bh, exp);
    for (i = 0; i < exp->n_queues; i++) {
        queue_start(&exp->queues[i]);
    }
    return true;
}

/* Those that are under way are answered; then the file goes. */
static void coroutine_fn shutdown_entry(void *opaque)
{
    FuseExport *exp = opaque;
    unsigned i;

    for (i = 0; i < exp->n_queues; i++) {
        queue_stop(&exp->queues[i]);
    }
    /* The cloned descriptors first: the connection ends with the last one. */
    destroy_queues(exp);
    unmount_export(exp);
    blk_exp_unref(&exp->common);
}

static void fuse_request_shutdown(BlockExport *common)
{
    FuseExport *exp = container_of(common, FuseExport, common);

    blk_exp_ref(common);
    qemu_coroutine_enter(qemu_coroutine_create(shutdown_entry, exp));
}

static void fuse_delete(BlockExport *common)
{
    FuseExport *exp = container_of(common, FuseExport, common);

    qemu_bh_delete(exp->gone_bh);
    g_free(exp->mountpoint);
}

const BlockExportDriver blk_exp_fuse = {
    .type = BLOCK_EXPORT_TYPE_FUSE,
    .instance_size = sizeof(FuseExport),
    .has_iothread = true,
    .has_multi_iothread = true,
    .create = fuse_create,
    .delete = fuse_delete,
    .request_shutdown = fuse_request_shutdown,
};
