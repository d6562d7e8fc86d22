/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: a filter that makes requests fail or wait.
 *
 * Rules belong to an event, a point that a request passes.  Once its event
 * has happened, an error rule is active until another error rule's event
 * happens, and requests that match it fail.  A breakpoint makes the request
 * that passes it wait until it is resumed by its tag.
 *
 * Rules and suspended requests are under the lock: requests run in the
 * node's AioContext, breakpoints are set in the main thread.
 */
#include "qemu/osdep.h"
#include "blkdebug.h"
#include "qemu/cutils.h"

typedef struct SuspendedReq {
    Coroutine *co;
    char *tag;
    QTAILQ_ENTRY(SuspendedReq) next;
} SuspendedReq;

typedef struct BDRVBlkdebugState {
    QemuMutex lock;
    int state;
    BlkdebugRuleList rules[BLKDBG__MAX];
    QTAILQ_HEAD(, SuspendedReq) suspended;

    /* 0: as the image has it */
    uint64_t align;
    uint64_t max_transfer;
    uint64_t opt_write_zero;
    uint64_t max_write_zero;
    uint64_t opt_discard;
    uint64_t max_discard;

    char *config;               /* NULL: none */
    bool only_config;           /* "blkdebug:CONFIG:IMAGE" says it all */
    bool has_rules;             /* by options */
} BDRVBlkdebugState;

static void blkdebug_parse_filename(const char *filename, QOpts *options,
                                    Error **errp)
{
    const char *rest, *colon;

    if (!strstart(filename, "blkdebug:", &rest)) {
        error_setg(errp, "File name string must start with 'blkdebug:'");
        return;
    }
    colon = strchr(rest, ':');
    if (!colon) {
        error_setg(errp, "blkdebug requires both config file and image path");
        return;
    }
    if (colon != rest) {
        g_autofree char *config = g_strndup(rest, colon - rest);

        qopts_set_str(options, "config", config);
    }
    qopts_set_str(options, "x-image", colon + 1);
}

/* --- opening --- */

typedef struct LimitOption {
    const char *name;
    uint64_t *value;
    uint64_t align;
} LimitOption;

static int check_limit(const LimitOption *o, Error **errp)
{
    if (*o->value >= INT_MAX || !QEMU_IS_ALIGNED(*o->value, o->align)) {
        error_setg(errp, "Cannot meet constraints with %s %" PRIu64,
                   o->name, *o->value);
        return -EINVAL;
    }
    return 0;
}

static int blkdebug_set_limits(BlockDriverState *bs,
                               const BlockdevOptionsBlkdebug *o, Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;
    uint64_t align;
    size_t i;

    s->align = o->align;
    s->max_transfer = o->max_transfer;
    s->opt_write_zero = o->opt_write_zero;
    s->max_write_zero = o->max_write_zero;
    s->opt_discard = o->opt_discard;
    s->max_discard = o->max_discard;
    if (s->align && (s->align >= INT_MAX || !is_power_of_2(s->align))) {
        error_setg(errp, "Cannot meet constraints with align %" PRIu64,
                   s->align);
        return -EINVAL;
    }
    align = MAX(s->align, bs->file->bs->bl.request_alignment);
    {
        const LimitOption limits[] = {
            { "max-transfer", &s->max_transfer, align },
            { "opt-write-zero", &s->opt_write_zero, align },
            { "max-write-zero", &s->max_write_zero,
              MAX(s->opt_write_zero, align) },
            { "opt-discard", &s->opt_discard, align },
            { "max-discard", &s->max_discard, MAX(s->opt_discard, align) },
        };

        for (i = 0; i < ARRAY_SIZE(limits); i++) {
            if (check_limit(&limits[i], errp) < 0) {
                return -EINVAL;
            }
        }
    }
    s->only_config = !s->align && !s->max_transfer && !s->opt_write_zero &&
                     !s->max_write_zero && !s->opt_discard &&
                     !s->max_discard && !s->has_rules;
    return 0;
}

static void blkdebug_free_rules(BDRVBlkdebugState *s)
{
    BlkdebugRule *rule;
    int i;

    for (i = 0; i < BLKDBG__MAX; i++) {
        while ((rule = QTAILQ_FIRST(&s->rules[i]))) {
            QTAILQ_REMOVE(&s->rules[i], rule, next);
            blkdebug_rule_free(rule);
        }
    }
}

static void blkdebug_process_event(BDRVBlkdebugState *s, BlkdebugEvent event,
                                   int *suspensions);

static int blkdebug_setup(BlockDriverState *bs,
                          const BlockdevOptionsBlkdebug *o, QOpts *options,
                          Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;
    /* The name "blkdebug:CONFIG:IMAGE" gives it; no schema has it. */
    g_autofree char *image = NULL;
    BlockDriverState *file;
    const int fua = BDRV_REQ_FUA;
    int given;
    int unused = 0;

    if (!qopts_take_str(options, "x-image", NULL, &image, errp)) {
        return -EINVAL;
    }
    s->config = g_strdup(o->config);
    if (s->config && blkdebug_read_config(s->rules, s->config, errp) < 0) {
        return -EINVAL;
    }
    given = qopts_count(options);
    if (blkdebug_take_rules(s->rules, options, errp) < 0) {
        return -EINVAL;
    }
    s->has_rules = qopts_count(options) != given;
    if (bdrv_open_file_child(image, options, "image", bs, errp) < 0 ||
        blkdebug_set_limits(bs, o, errp) < 0) {
        return -EINVAL;
    }
    file = bs->file->bs;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        (fua & file->supported_write_flags);
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        ((fua | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         file->supported_zero_flags);
    /* Rules of no event are active from the start. */
    s->state = 1;
    blkdebug_process_event(s, BLKDBG_NONE, &unused);
    return 0;
}

static int blkdebug_open(BlockDriverState *bs, QOpts *options, int flags,
                         Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;
    g_autoptr(BlockdevOptionsBlkdebug) o =
        QOPTS_TAKE(BlockdevOptionsBlkdebug, options, errp);
    int i, ret;

    if (!o) {
        return -EINVAL;
    }
    qemu_mutex_init(&s->lock);
    QTAILQ_INIT(&s->suspended);
    for (i = 0; i < BLKDBG__MAX; i++) {
        QTAILQ_INIT(&s->rules[i]);
    }
    ret = blkdebug_setup(bs, o, options, errp);
    if (ret < 0) {
        blkdebug_free_rules(s);
        g_free(s->config);
        qemu_mutex_destroy(&s->lock);
    }
    return ret;
}

static void blkdebug_close(BlockDriverState *bs)
{
    BDRVBlkdebugState *s = bs->opaque;

    assert(QTAILQ_EMPTY(&s->suspended));
    blkdebug_free_rules(s);
    g_free(s->config);
    qemu_mutex_destroy(&s->lock);
}

static int blkdebug_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    return 0;
}

static void blkdebug_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;

    if (s->align) {
        bs->bl.request_alignment = s->align;
    }
    if (s->max_transfer) {
        bs->bl.max_transfer = s->max_transfer;
    }
    if (s->opt_write_zero) {
        bs->bl.pwrite_zeroes_alignment = s->opt_write_zero;
    }
    if (s->max_write_zero) {
        bs->bl.max_pwrite_zeroes = s->max_write_zero;
    }
    if (s->opt_discard) {
        bs->bl.pdiscard_alignment = s->opt_discard;
    }
    if (s->max_discard) {
        bs->bl.max_pdiscard = s->max_discard;
    }
}

static void blkdebug_refresh_filename(BlockDriverState *bs)
{
    BDRVBlkdebugState *s = bs->opaque;
    const char *image = bs->file ? bs->file->bs->exact_filename : NULL;

    if (!image || !*image || !s->only_config) {
        return;
    }
    g_free(bs->exact_filename);
    bs->exact_filename = g_strdup_printf("blkdebug:%s:%s",
                                         s->config ? s->config : "", image);
    g_free(bs->filename);
    bs->filename = g_strdup(bs->exact_filename);
}

/* --- errors --- */

/*
 * The active rule for a request, or NULL.  Of several that match, the one
 * that was activated last in the order of the events.
 */
static BlkdebugRule *find_active(BDRVBlkdebugState *s, int64_t offset,
                                 int64_t bytes, BlkdebugIoType type,
                                 int *event)
{
    BlkdebugRule *rule;
    int i;

    for (i = 0; i < BLKDBG__MAX; i++) {
        QTAILQ_FOREACH(rule, &s->rules[i], next) {
            if (rule->active && (rule->io_types & type) &&
                (rule->offset < 0 ||
                 (bytes && rule->offset >= offset &&
                  rule->offset < offset + bytes))) {
                *event = i;
                return rule;
            }
        }
    }
    return NULL;
}

/* 0, or the -errno that the request is to fail with, after its delay. */
static int coroutine_fn blkdebug_check(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BlkdebugIoType type)
{
    BDRVBlkdebugState *s = bs->opaque;
    BlkdebugRule *rule;
    bool immediately;
    int64_t delay_ns;
    int event, error;

    qemu_mutex_lock(&s->lock);
    rule = find_active(s, offset, bytes, type, &event);
    if (!rule || (!rule->error && !rule->delay_ns)) {
        qemu_mutex_unlock(&s->lock);
        return 0;
    }
    immediately = rule->immediately;
    error = rule->error;
    delay_ns = rule->delay_ns;
    if (rule->once) {
        QTAILQ_REMOVE(&s->rules[event], rule, next);
        blkdebug_rule_free(rule);
    }
    qemu_mutex_unlock(&s->lock);

    if (delay_ns) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, delay_ns);
    } else if (!immediately) {
        /* As real hardware does: not before the submitter has gone on. */
        aio_co_give_way();
    }
    return -error;
}

/* --- events --- */

/* The rules that an event activates replace those active before. */
static void deactivate_all(BDRVBlkdebugState *s)
{
    BlkdebugRule *rule;
    int i;

    for (i = 0; i < BLKDBG__MAX; i++) {
        QTAILQ_FOREACH(rule, &s->rules[i], next) {
            rule->active = false;
        }
    }
}

static void suspend_request(BDRVBlkdebugState *s, BlkdebugRule *rule)
{
    SuspendedReq *req = g_new0(SuspendedReq, 1);

    req->co = qemu_coroutine_self();
    req->tag = g_strdup(rule->tag);
    QTAILQ_INSERT_TAIL(&s->suspended, req, next);
    printf("blkdebug: Suspended request '%s'\n", req->tag);
    fflush(stdout);
}

/* Lock held, or nobody else there yet. */
static void blkdebug_process_event(BDRVBlkdebugState *s, BlkdebugEvent event,
                                   int *suspensions)
{
    BlkdebugRule *rule, *next;
    int new_state = s->state;
    bool injected = false;

    QTAILQ_FOREACH_SAFE(rule, &s->rules[event], next, next) {
        if (rule->state && rule->state != s->state) {
            continue;
        }
        switch (rule->action) {
        case BLKDEBUG_INJECT_ERROR:
            if (!injected) {
                deactivate_all(s);
                injected = true;
            }
            rule->active = true;
            break;
        case BLKDEBUG_SET_STATE:
            new_state = rule->new_state;
            break;
        case BLKDEBUG_SUSPEND:
            suspend_request(s, rule);
            ++*suspensions;
            QTAILQ_REMOVE(&s->rules[event], rule, next);
            blkdebug_rule_free(rule);
            break;
        }
    }
    s->state = new_state;
}

static void coroutine_fn blkdebug_co_debug_event(BlockDriverState *bs,
                                                 BlkdebugEvent event)
{
    BDRVBlkdebugState *s = bs->opaque;
    int suspensions = 0;

    assert((int)event >= 0 && event < BLKDBG__MAX);
    qemu_mutex_lock(&s->lock);
    blkdebug_process_event(s, event, &suspensions);
    qemu_mutex_unlock(&s->lock);

    /* Each is resumed on its own. */
    while (suspensions-- > 0) {
        qemu_coroutine_yield();
    }
}

static int blkdebug_debug_breakpoint(BlockDriverState *bs, const char *event,
                                     const char *tag)
{
    BDRVBlkdebugState *s = bs->opaque;
    BlkdebugRule *rule;
    int ev = blkdebug_find_event(event);

    if (ev < 0) {
        return -ENOENT;
    }
    rule = g_new0(BlkdebugRule, 1);
    rule->action = BLKDEBUG_SUSPEND;
    rule->tag = g_strdup(tag);
    qemu_mutex_lock(&s->lock);
    QTAILQ_INSERT_TAIL(&s->rules[ev], rule, next);
    qemu_mutex_unlock(&s->lock);
    return 0;
}

/* Wake the first request with @tag; -ENOENT if there is none. */
static int blkdebug_debug_resume(BlockDriverState *bs, const char *tag)
{
    BDRVBlkdebugState *s = bs->opaque;
    SuspendedReq *req;
    Coroutine *co;

    qemu_mutex_lock(&s->lock);
    QTAILQ_FOREACH(req, &s->suspended, next) {
        if (!strcmp(req->tag, tag)) {
            break;
        }
    }
    if (req) {
        QTAILQ_REMOVE(&s->suspended, req, next);
    }
    qemu_mutex_unlock(&s->lock);
    if (!req) {
        return -ENOENT;
    }
    printf("blkdebug: Resuming request '%s'\n", tag);
    fflush(stdout);
    co = req->co;
    g_free(req->tag);
    g_free(req);
    aio_co_wake(co);
    return 0;
}

/* Requests that wait at the breakpoint go on. */
static int blkdebug_debug_remove_breakpoint(BlockDriverState *bs,
                                            const char *tag)
{
    BDRVBlkdebugState *s = bs->opaque;
    BlkdebugRule *rule, *next;
    int i, ret = -ENOENT;

    qemu_mutex_lock(&s->lock);
    for (i = 0; i < BLKDBG__MAX; i++) {
        QTAILQ_FOREACH_SAFE(rule, &s->rules[i], next, next) {
            if (rule->action == BLKDEBUG_SUSPEND && !strcmp(rule->tag, tag)) {
                QTAILQ_REMOVE(&s->rules[i], rule, next);
                blkdebug_rule_free(rule);
                ret = 0;
            }
        }
    }
    qemu_mutex_unlock(&s->lock);
    while (blkdebug_debug_resume(bs, tag) == 0) {
        /* the next one with this tag */
    }
    return ret;
}

static bool blkdebug_debug_is_suspended(BlockDriverState *bs,
                                        const char *tag)
{
    BDRVBlkdebugState *s = bs->opaque;
    SuspendedReq *req;

    qemu_mutex_lock(&s->lock);
    QTAILQ_FOREACH(req, &s->suspended, next) {
        if (!strcmp(req->tag, tag)) {
            break;
        }
    }
    qemu_mutex_unlock(&s->lock);
    return req != NULL;
}

/* --- requests --- */

static int coroutine_fn blkdebug_co_preadv_part(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                QEMUIOVector *qiov,
                                                size_t qiov_offset,
                                                BdrvRequestFlags flags)
{
    int ret = blkdebug_check(bs, offset, bytes, BLKDEBUG_IO_READ);

    return ret < 0 ? ret : bdrv_co_preadv_part(bs->file, offset, bytes, qiov,
                                               qiov_offset, flags);
}

static int coroutine_fn blkdebug_co_pwritev_part(BlockDriverState *bs,
                                                 int64_t offset,
                                                 int64_t bytes,
                                                 QEMUIOVector *qiov,
                                                 size_t qiov_offset,
                                                 BdrvRequestFlags flags)
{
    int ret = blkdebug_check(bs, offset, bytes, BLKDEBUG_IO_WRITE);

    return ret < 0 ? ret : bdrv_co_pwritev_part(bs->file, offset, bytes,
                                                qiov, qiov_offset, flags);
}

static int coroutine_fn blkdebug_co_pwrite_zeroes(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    int ret = blkdebug_check(bs, offset, bytes, BLKDEBUG_IO_WRITE_ZEROES);

    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes,
                                                 flags);
}

static int coroutine_fn blkdebug_co_pdiscard(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes)
{
    int ret = blkdebug_check(bs, offset, bytes, BLKDEBUG_IO_DISCARD);

    return ret < 0 ? ret : bdrv_co_pdiscard(bs->file, offset, bytes);
}

/* The block layer flushes the image after this. */
static int coroutine_fn blkdebug_co_flush_to_disk(BlockDriverState *bs)
{
    return blkdebug_check(bs, 0, 0, BLKDEBUG_IO_FLUSH);
}

static int coroutine_fn blkdebug_co_block_status(BlockDriverState *bs,
                                                 bool want_zero,
                                                 int64_t offset,
                                                 int64_t bytes,
                                                 int64_t *pnum, int64_t *map,
                                                 BlockDriverState **file)
{
    int ret = blkdebug_check(bs, offset, bytes, BLKDEBUG_IO_BLOCK_STATUS);

    if (ret < 0) {
        return ret;
    }
    *pnum = bytes;
    *map = offset;
    *file = bs->file->bs;
    return BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID;
}

static int coroutine_fn blkdebug_co_truncate(BlockDriverState *bs,
                                             int64_t offset, bool exact,
                                             PreallocMode prealloc,
                                             BdrvRequestFlags flags,
                                             Error **errp)
{
    return bdrv_co_truncate(bs->file, offset, exact, prealloc, flags, errp);
}

static int64_t coroutine_fn blkdebug_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_getlength(bs->file->bs);
}

static int64_t coroutine_fn blkdebug_co_get_allocated_file_size(
    BlockDriverState *bs)
{
    return bdrv_co_get_allocated_file_size(bs->file->bs);
}

static int coroutine_fn blkdebug_co_get_info(BlockDriverState *bs,
                                             BlockDriverInfo *bdi)
{
    return bdrv_co_get_info(bs->file->bs, bdi);
}

static int blkdebug_has_zero_init(BlockDriverState *bs)
{
    return bdrv_has_zero_init(bs->file->bs);
}

static BlockDriver bdrv_blkdebug = {
    .format_name = "blkdebug",
    .protocol_name = "blkdebug",
    .instance_size = sizeof(BDRVBlkdebugState),
    .is_filter = true,

    .bdrv_parse_filename = blkdebug_parse_filename,
    .bdrv_open = blkdebug_open,
    .bdrv_close = blkdebug_close,
    .bdrv_reopen_prepare = blkdebug_reopen_prepare,
    .bdrv_refresh_limits = blkdebug_refresh_limits,
    .bdrv_refresh_filename = blkdebug_refresh_filename,

    .bdrv_co_preadv_part = blkdebug_co_preadv_part,
    .bdrv_co_pwritev_part = blkdebug_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = blkdebug_co_pwrite_zeroes,
    .bdrv_co_pdiscard = blkdebug_co_pdiscard,
    .bdrv_co_flush_to_disk = blkdebug_co_flush_to_disk,
    .bdrv_co_block_status = blkdebug_co_block_status,
    .bdrv_co_truncate = blkdebug_co_truncate,
    .bdrv_co_getlength = blkdebug_co_getlength,
    .bdrv_co_get_allocated_file_size = blkdebug_co_get_allocated_file_size,
    .bdrv_co_get_info = blkdebug_co_get_info,
    .bdrv_has_zero_init = blkdebug_has_zero_init,

    .bdrv_co_debug_event = blkdebug_co_debug_event,
    .bdrv_debug_breakpoint = blkdebug_debug_breakpoint,
    .bdrv_debug_remove_breakpoint = blkdebug_debug_remove_breakpoint,
    .bdrv_debug_resume = blkdebug_debug_resume,
    .bdrv_debug_is_suspended = blkdebug_debug_is_suspended,
};

static void bdrv_blkdebug_init(void)
{
    bdrv_register(&bdrv_blkdebug);
}

block_init(bdrv_blkdebug_init)
