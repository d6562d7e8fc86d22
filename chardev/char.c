/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of character devices, and the calls between their two ends. */
#include "qemu/osdep.h"
#include "chardev.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-char.h"
#include "qemu/error-report.h"
#include "qemu/option.h"

static QTAILQ_HEAD(, Chardev) chardevs = QTAILQ_HEAD_INITIALIZER(chardevs);

static const ChardevDriver *const drivers[CHARDEV_BACKEND_KIND__MAX] = {
    [CHARDEV_BACKEND_KIND_FILE] = &chardev_file,
    [CHARDEV_BACKEND_KIND_SOCKET] = &chardev_socket,
    [CHARDEV_BACKEND_KIND_PTY] = &chardev_pty,
    [CHARDEV_BACKEND_KIND_NULL] = &chardev_null,
    [CHARDEV_BACKEND_KIND_STDIO] = &chardev_stdio,
    [CHARDEV_BACKEND_KIND_RINGBUF] = &chardev_ringbuf,
};

static bool null_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    chr->filename = g_strdup("null");
    return true;
}

static void null_close(Chardev *chr)
{
}

const ChardevDriver chardev_null = {
    .kind = CHARDEV_BACKEND_KIND_NULL,
    .open = null_open,
    .close = null_close,
};

/* What all kinds have; all wrappers look alike. */
static const ChardevCommon *backend_common(const ChardevBackend *backend)
{
    switch (backend->type) {
    case CHARDEV_BACKEND_KIND_FILE:
        return (const ChardevCommon *)backend->u.file.data;
    case CHARDEV_BACKEND_KIND_SOCKET:
        return (const ChardevCommon *)backend->u.socket.data;
    case CHARDEV_BACKEND_KIND_PTY:
        return (const ChardevCommon *)backend->u.pty.data;
    case CHARDEV_BACKEND_KIND_NULL:
        return backend->u.null.data;
    case CHARDEV_BACKEND_KIND_STDIO:
        return (const ChardevCommon *)backend->u.stdio.data;
    case CHARDEV_BACKEND_KIND_RINGBUF:
        return (const ChardevCommon *)backend->u.ringbuf.data;
    default:
        g_assert_not_reached();
    }
}

static bool open_log(Chardev *chr, const ChardevCommon *common, Error **errp)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;

    if (!common->logfile) {
        return true;
    }
    flags |= common->has_logappend && common->logappend ? O_APPEND : O_TRUNC;
    chr->logfd = open(common->logfile, flags, 0666);
    if (chr->logfd < 0) {
        error_setg_errno(errp, errno, "Unable to open logfile %s",
                         common->logfile);
        return false;
    }
    return true;
}

static void free_chardev(Chardev *chr)
{
    if (chr->logfd >= 0) {
        close(chr->logfd);
    }
    g_free(chr->filename);
    g_free(chr->label);
    g_free(chr);
}

/* The rule for names of QEMU's: a letter, then letters, digits, "-._". */
static bool id_wellformed(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    while (*++id) {
        if (!g_ascii_isalnum(*id) && !strchr("-._", *id)) {
            return false;
        }
    }
    return true;
}

Chardev *qemu_chardev_new(const char *id, ChardevBackend *backend,
                          Error **errp)
{
    Chardev *chr;

    if (!id_wellformed(id)) {
        error_setg(errp, "Parameter 'id' expects an identifier");
        error_append_hint(errp, "Identifiers consist of letters, digits, "
                          "'-', '.', '_', starting with a letter.\n");
        return NULL;
    }
    if (qemu_chr_find(id)) {
        error_setg(errp, "Chardev with id '%s' already exists", id);
        return NULL;
    }
    chr = g_new0(Chardev, 1);
    chr->driver = drivers[backend->type];
    chr->label = g_strdup(id);
    chr->logfd = -1;
    if (!open_log(chr, backend_common(backend), errp) ||
        !chr->driver->open(chr, backend, errp)) {
        free_chardev(chr);
        return NULL;
    }
    QTAILQ_INSERT_TAIL(&chardevs, chr, link);
    return chr;
}

static void delete_chardev(Chardev *chr)
{
    assert(!chr->fe);
    QTAILQ_REMOVE(&chardevs, chr, link);
    chr->driver->close(chr);
    free_chardev(chr);
}

void qemu_chr_cleanup(void)
{
    Chardev *chr, *next;

    QTAILQ_FOREACH_SAFE(chr, &chardevs, link, next) {
        delete_chardev(chr);
    }
}

Chardev *qemu_chr_find(const char *id)
{
    Chardev *chr;

    QTAILQ_FOREACH(chr, &chardevs, link) {
        if (!strcmp(chr->label, id)) {
            return chr;
        }
    }
    return NULL;
}

const char *qemu_chr_label(const Chardev *chr)
{
    return chr->label;
}

static void print_kinds(void)
{
    int i;

    printf("Available chardev backend types:\n");
    for (i = 0; i < CHARDEV_BACKEND_KIND__MAX; i++) {
        printf("  %s\n", ChardevBackendKind_str(i));
    }
}

bool qemu_chr_new_from_opts(const char *params, Error **errp)
{
    g_autofree char *kind_name = NULL, *id = NULL;
    ChardevBackend *backend;
    QOpts *opts;
    bool ok = false;
    int kind;

    opts = qopts_parse(params, "backend", errp);
    if (!opts || !qopts_take_str(opts, "backend", NULL, &kind_name, errp) ||
        !qopts_take_str(opts, "id", NULL, &id, errp)) {
        qopts_unref(opts);
        return false;
    }
    if (kind_name && qopts_is_help(kind_name)) {
        print_kinds();
        qopts_unref(opts);
        g_free(g_steal_pointer(&kind_name));
        exit(EXIT_SUCCESS);
    }
    if (!id) {
        error_setg(errp, "chardev: no id specified");
    } else if (!kind_name) {
        error_setg(errp, "chardev: \"%s\" missing backend", id);
    } else {
        kind = qapi_enum_parse(&ChardevBackendKind_lookup, kind_name, -1,
                               NULL);
        if (kind < 0) {
            error_setg(errp, "'%s' is not a valid char driver name",
                       kind_name);
        } else {
            backend = chardev_parse_opts(kind, opts, errp);
            ok = backend && qemu_chardev_new(id, backend, errp);
            qapi_free_ChardevBackend(backend);
        }
    }
    qopts_unref(opts);
    return ok;
}

bool qemu_chr_fe_init(CharFrontend *fe, Chardev *chr, Error **errp)
{
    if (chr->fe) {
        error_setg(errp, "chardev '%s' is already in use", chr->label);
        return false;
    }
    *fe = (CharFrontend) { .chr = chr };
    chr->fe = fe;
    return true;
}

void qemu_chr_fe_set_handlers(CharFrontend *fe, const CharFrontendOps *ops,
                              void *opaque)
{
    fe->ops = ops;
    fe->opaque = opaque;
    if (fe->chr->be_open) {
        ops->event(opaque, CHR_EVENT_OPENED);
    }
    qemu_chr_fe_accept_input(fe);
}

void qemu_chr_fe_deinit(CharFrontend *fe)
{
    Chardev *chr = fe->chr;

    if (!chr) {
        return;
    }
    chr->fe = NULL;
    fe->chr = NULL;
    if (chr->driver->update_read) {
        chr->driver->update_read(chr);
    }
}

void qemu_chr_fe_accept_input(CharFrontend *fe)
{
    if (fe->chr->driver->update_read) {
        fe->chr->driver->update_read(fe->chr);
    }
}

/* A log that cannot be written is no reason to stop what is logged. */
static void write_log(Chardev *chr, const uint8_t *buf, ssize_t len)
{
    while (chr->logfd >= 0 && len > 0) {
        ssize_t n = write(chr->logfd, buf, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        buf += n;
        len -= n;
    }
}

ssize_t qemu_chr_fe_write(CharFrontend *fe, const void *buf, size_t len)
{
    Chardev *chr = fe->chr;
    ssize_t ret = chr->driver->write ? chr->driver->write(chr, buf, len) :
                                       (ssize_t)len;

    write_log(chr, buf, ret);
    return ret;
}

void qemu_chr_fe_want_write(CharFrontend *fe)
{
    if (fe->chr->driver->want_write) {
        fe->chr->driver->want_write(fe->chr);
    }
}

size_t qemu_chr_be_can_write(Chardev *chr)
{
    if (!chr->fe || !chr->fe->ops) {
        return 0;
    }
    return chr->fe->ops->can_read(chr->fe->opaque);
}

void qemu_chr_be_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->fe && chr->fe->ops) {
        chr->fe->ops->read(chr->fe->opaque, buf, len);
    }
}

void qemu_chr_be_event(Chardev *chr, QEMUChrEvent event)
{
    if (chr->be_open == (event == CHR_EVENT_OPENED)) {
        return;
    }
    chr->be_open = event == CHR_EVENT_OPENED;
    if (chr->fe && chr->fe->ops) {
        chr->fe->ops->event(chr->fe->opaque, event);
    }
}

void qemu_chr_be_writable(Chardev *chr)
{
    if (chr->fe && chr->fe->ops) {
        chr->fe->ops->writable(chr->fe->opaque);
    }
}

ChardevInfoList *qmp_query_chardev(Error **errp)
{
    ChardevInfoList *list = NULL, **tail = &list;
    Chardev *chr;

    QTAILQ_FOREACH(chr, &chardevs, link) {
        ChardevInfo *info = g_new0(ChardevInfo, 1);

        info->label = g_strdup(chr->label);
        info->filename = g_strdup(chr->filename);
        info->frontend_open = chr->fe != NULL;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

ChardevBackendInfoList *qmp_query_chardev_backends(Error **errp)
{
    ChardevBackendInfoList *list = NULL, **tail = &list;
    int i;

    for (i = 0; i < CHARDEV_BACKEND_KIND__MAX; i++) {
        ChardevBackendInfo *info = g_new0(ChardevBackendInfo, 1);

        info->name = g_strdup(ChardevBackendKind_str(i));
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

ChardevReturn *qmp_chardev_add(const char *id, ChardevBackend *backend,
                               Error **errp)
{
    ERRP_GUARD();
    bool is_new = !qemu_chr_find(id);
    Chardev *chr = qemu_chardev_new(id, backend, errp);
    ChardevReturn *ret;

    if (!chr) {
        if (is_new) {
            error_prepend(errp, "Failed to add chardev '%s': ", id);
        }
        return NULL;
    }
    ret = g_new0(ChardevReturn, 1);
    if (chr->driver->kind == CHARDEV_BACKEND_KIND_PTY) {
        ret->pty = g_strdup(chr->filename + strlen("pty:"));
    }
    return ret;
}

ChardevReturn *qmp_chardev_change(const char *id, ChardevBackend *backend,
                                  Error **errp)
{
    Chardev *chr = qemu_chr_find(id);

    if (!chr) {
        error_setg(errp, "Chardev '%s' does not exist", id);
        return NULL;
    }
    if (chr->fe) {
        error_setg(errp, "Chardev user does not support chardev hotswap");
        return NULL;
    }
    /* First the old one, since both may want the same path. */
    delete_chardev(chr);
    return qmp_chardev_add(id, backend, errp);
}

/* Monitors, the only users of chardevs, take no notice of a break. */
void qmp_chardev_send_break(const char *id, Error **errp)
{
    if (!qemu_chr_find(id)) {
        error_setg(errp, "Chardev '%s' not found", id);
    }
}

void qmp_chardev_remove(const char *id, Error **errp)
{
    Chardev *chr = qemu_chr_find(id);

    if (!chr) {
        error_setg(errp, "Chardev '%s' not found", id);
    } else if (chr->fe) {
        error_setg(errp, "Chardev '%s' is busy", id);
    } else {
        delete_chardev(chr);
    }
}
