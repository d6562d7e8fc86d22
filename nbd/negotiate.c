/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The negotiation of the NBD server: fixed newstyle.
 *
 * What a client may send as an option is bounded; options that are longer
 * are read and refused.  A client that does not follow the protocol is let go.
 */
#include "qemu/osdep.h"
#include "nbd-internal.h"

/* The longest option: a name, and queries for contexts. */
#define NBD_MAX_OPTION (NBD_MAX_STRING_SIZE * 16)

/* An option, while it is taken apart. */
typedef struct NBDOption {
    uint32_t option;
    uint8_t *data;
    uint32_t len;
    uint32_t pos;
} NBDOption;

static bool option_take(NBDOption *o, void *to, uint32_t len)
{
    if (len > o->len - o->pos) {
        return false;
    }
    memcpy(to, o->data + o->pos, len);
    o->pos += len;
    return true;
}

static bool option_take_u16(NBDOption *o, uint16_t *value)
{
    if (!option_take(o, value, sizeof(*value))) {
        return false;
    }
    *value = be16toh(*value);
    return true;
}

static bool option_take_u32(NBDOption *o, uint32_t *value)
{
    if (!option_take(o, value, sizeof(*value))) {
        return false;
    }
    *value = be32toh(*value);
    return true;
}

/* A length and so many bytes; to be freed.  NULL: it is not there. */
static char *option_take_string(NBDOption *o)
{
    uint32_t len;
    char *s;

    if (!option_take_u32(o, &len) || len > NBD_MAX_STRING_SIZE ||
        len > o->len - o->pos) {
        return NULL;
    }
    s = g_strndup((char *)o->data + o->pos, len);
    o->pos += len;
    return s;
}

/* --- replies --- */

static int coroutine_fn send_reply(NBDClient *c, const NBDOption *o,
                                   uint32_t type, const void *data,
                                   uint32_t len)
{
    struct {
        uint64_t magic;
        uint32_t option;
        uint32_t type;
        uint32_t len;
    } QEMU_PACKED header = {
        htobe64(NBD_REP_MAGIC), htobe32(o->option), htobe32(type),
        htobe32(len),
    };
    struct iovec iov[] = {
        { &header, sizeof(header) }, { (void *)data, len },
    };

    return nbd_client_writev(c, iov, len ? 2 : 1);
}

static int coroutine_fn send_ack(NBDClient *c, const NBDOption *o)
{
    return send_reply(c, o, NBD_REP_ACK, NULL, 0);
}

static int coroutine_fn G_GNUC_PRINTF(4, 5)
send_error(NBDClient *c, const NBDOption *o, uint32_t type, const char *fmt,
           ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return send_reply(c, o, type, text, strlen(text));
}

/* --- options --- */

static int coroutine_fn opt_list(NBDClient *c, NBDOption *o)
{
    g_autoptr(GPtrArray) replies =
        g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    NBDExport *exp = NULL;
    int ret = 0;
    guint i;

    if (o->len) {
        return send_error(c, o, NBD_REP_ERR_INVALID,
                          "option 'list' should have zero length");
    }
    /* Exports may come and go while the client reads the answers. */
    while ((exp = nbd_export_next(exp))) {
        uint32_t be_len = htobe32(strlen(exp->name));
        GString *data = g_string_new_len((char *)&be_len, sizeof(be_len));

        g_string_append(data, exp->name);
        g_string_append(data, exp->description ? exp->description : "");
        g_ptr_array_add(replies, g_string_free_to_bytes(data));
    }
    for (i = 0; i < replies->len && ret == 0; i++) {
        gsize len;
        const void *data = g_bytes_get_data(replies->pdata[i], &len);

        ret = send_reply(c, o, NBD_REP_SERVER, data, len);
    }
    return ret < 0 ? ret : send_ack(c, o);
}

static uint16_t client_flags(const NBDClient *c, const NBDExport *exp)
{
    return exp->flags | (c->structured_reply ? NBD_FLAG_SEND_DF : 0) |
           (c->extended ? NBD_FLAG_BLOCK_STAT_PAYLOAD : 0);
}

/*
 * A client is told of the size as it is now; the protocol has no way to tell it
 * of a later one.
 */
static uint64_t coroutine_fn export_size(NBDExport *exp)
{
    int64_t size;

    /* No request is counted here that would keep the node. */
    bdrv_graph_co_rdlock();
    size = bdrv_co_getlength(blk_bs(exp->common.blk));
    bdrv_graph_co_rdunlock();
    if (size >= 0) {
        qatomic_set(&exp->size, QEMU_ALIGN_DOWN(size, BDRV_SECTOR_SIZE));
    }
    return qatomic_read(&exp->size);
}

/* The contexts that were chosen are for another export: there are none. */
static void choose_export(NBDClient *c, NBDExport *exp)
{
    if (c->meta_export != exp->serial) {
        c->base_allocation = false;
        c->allocation_depth = false;
        g_free(c->bitmaps);
        c->bitmaps = g_new0(bool, exp->n_bitmaps + 1);
    }
    blk_exp_ref(&exp->common);
    c->exp = exp;
}

/* The old way: there is no answer but the export itself. */
static int coroutine_fn opt_export_name(NBDClient *c, NBDOption *o)
{
    g_autofree char *name = g_strndup((char *)o->data, o->len);
    NBDExport *exp = nbd_export_find(name);
    struct {
        uint64_t size;
        uint16_t flags;
        uint8_t zeroes[124];
    } QEMU_PACKED reply = { 0 };

    if (!exp) {
        return -EINVAL;
    }
    choose_export(c, exp);
    reply.size = htobe64(export_size(exp));
    reply.flags = htobe16(client_flags(c, exp));
    return nbd_client_write(c, &reply, c->no_zeroes ?
                            offsetof(typeof(reply), zeroes) : sizeof(reply));
}

static int coroutine_fn send_info(NBDClient *c, NBDOption *o, uint16_t info,
                                  const void *data, uint32_t len)
{
    g_autofree uint8_t *buf = g_malloc(sizeof(info) + len);

    info = htobe16(info);
    memcpy(buf, &info, sizeof(info));
    memcpy(buf + sizeof(info), data, len);
    return send_reply(c, o, NBD_REP_INFO, buf, sizeof(info) + len);
}

static int coroutine_fn send_export_info(NBDClient *c, NBDOption *o,
                                         NBDExport *exp, bool block_size)
{
    uint32_t align = blk_get_request_alignment(exp->common.blk);
    uint32_t sizes[] = {
        /* Who does not ask may use any alignment. */
        htobe32(block_size ? align : 1),
        htobe32(MAX(align, 4096)),
        htobe32(NBD_MAX_BUFFER_SIZE),
    };
    struct {
        uint64_t size;
        uint16_t flags;
    } QEMU_PACKED info = {
        htobe64(export_size(exp)), htobe16(client_flags(c, exp)),
    };
    int ret;

    ret = send_info(c, o, NBD_INFO_BLOCK_SIZE, sizes, sizeof(sizes));
    return ret < 0 ? ret : send_info(c, o, NBD_INFO_EXPORT, &info,
                                     sizeof(info));
}

static int coroutine_fn opt_go(NBDClient *c, NBDOption *o)
{
    g_autofree char *name = option_take_string(o);
    bool block_size = false, wants_name = false, wants_description = false;
    NBDExport *exp;
    uint16_t n, info;
    int ret = 0;

    if (!name || !option_take_u16(o, &n)) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "the option is too short");
    }
    while (n--) {
        if (!option_take_u16(o, &info)) {
            return send_error(c, o, NBD_REP_ERR_INVALID,
                              "the option is too short");
        }
        block_size |= info == NBD_INFO_BLOCK_SIZE;
        wants_name |= info == NBD_INFO_NAME;
        wants_description |= info == NBD_INFO_DESCRIPTION;
    }
    if (o->pos != o->len) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "the option is too long");
    }
    exp = nbd_export_find(name);
    if (!exp) {
        return send_error(c, o, NBD_REP_ERR_UNKNOWN,
                          "export '%s' not present", name);
    }
    blk_exp_ref(&exp->common);
    if (wants_name) {
        ret = send_info(c, o, NBD_INFO_NAME, exp->name, strlen(exp->name));
    }
    if (ret == 0 && wants_description && exp->description) {
        ret = send_info(c, o, NBD_INFO_DESCRIPTION, exp->description,
                        strlen(exp->description));
    }
    if (ret == 0) {
        ret = send_export_info(c, o, exp, block_size);
    }
    if (ret == 0 && nbd_export_find(name) != exp) {
        /* It has gone while the client was reading. */
        ret = send_error(c, o, NBD_REP_ERR_UNKNOWN,
                         "export '%s' not present", name);
    } else if (ret == 0) {
        if (o->option == NBD_OPT_GO) {
            choose_export(c, exp);
        }
        ret = send_ack(c, o);
    }
    blk_exp_unref(&exp->common);
    return ret;
}

/* --- contexts of block status --- */

typedef struct NBDMetaQuery {
    bool base_allocation;
    bool allocation_depth;
    bool *bitmaps;
} NBDMetaQuery;

static void meta_query_bitmaps(const NBDExport *exp, const char *name,
                               bool all, NBDMetaQuery *q)
{
    size_t i;

    for (i = 0; i < exp->n_bitmaps; i++) {
        if (all || !strcmp(name, bdrv_dirty_bitmap_name(exp->bitmaps[i]))) {
            q->bitmaps[i] = true;
        }
    }
}

/* Unknown ones are not an error: they are not in the answer. */
static void meta_query(const NBDExport *exp, const char *query, bool list,
                       NBDMetaQuery *q)
{
    const char *name;

    if (!strcmp(query, "base:allocation") ||
        (list && !strcmp(query, "base:"))) {
        q->base_allocation = true;
    } else if (!strcmp(query, "qemu:allocation-depth")) {
        q->allocation_depth |= exp->allocation_depth;
    } else if (list && !strcmp(query, "qemu:")) {
        q->allocation_depth |= exp->allocation_depth;
        meta_query_bitmaps(exp, NULL, true, q);
    } else if (strstart(query, "qemu:dirty-bitmap:", &name)) {
        meta_query_bitmaps(exp, name, list && !*name, q);
    }
}

static int coroutine_fn send_meta(NBDClient *c, NBDOption *o, uint32_t id,
                                  const char *name)
{
    uint32_t be_id = htobe32(o->option == NBD_OPT_LIST_META_CONTEXT ? 0 : id);
    GString *data = g_string_new_len((char *)&be_id, sizeof(be_id));
    int ret;

    g_string_append(data, name);
    ret = send_reply(c, o, NBD_REP_META_CONTEXT, data->str, data->len);
    g_string_free(data, true);
    return ret;
}

static int coroutine_fn send_all_meta(NBDClient *c, NBDOption *o,
                                      NBDExport *exp, const NBDMetaQuery *q)
{
    size_t i;
    int ret = 0;

    if (q->base_allocation) {
        ret = send_meta(c, o, NBD_META_BASE_ALLOCATION, "base:allocation");
    }
    if (ret == 0 && q->allocation_depth) {
        ret = send_meta(c, o, NBD_META_ALLOCATION_DEPTH,
                        "qemu:allocation-depth");
    }
    for (i = 0; i < exp->n_bitmaps && ret == 0; i++) {
        if (q->bitmaps[i]) {
            g_autofree char *name =
                g_strconcat("qemu:dirty-bitmap:",
                            bdrv_dirty_bitmap_name(exp->bitmaps[i]), NULL);

            ret = send_meta(c, o, NBD_META_DIRTY_BITMAPS + i, name);
        }
    }
    return ret < 0 ? ret : send_ack(c, o);
}

static bool meta_queries(NBDOption *o, NBDExport *exp, bool list,
                         NBDMetaQuery *q)
{
    uint32_t n;

    if (!option_take_u32(o, &n)) {
        return false;
    }
    if (list && !n) {
        q->base_allocation = true;
        q->allocation_depth = exp->allocation_depth;
        meta_query_bitmaps(exp, NULL, true, q);
    }
    while (n--) {
        g_autofree char *query = option_take_string(o);

        if (!query) {
            return false;
        }
        meta_query(exp, query, list, q);
    }
    return o->pos == o->len;
}

static int coroutine_fn opt_meta_context(NBDClient *c, NBDOption *o)
{
    g_autofree char *name = option_take_string(o);
    bool list = o->option == NBD_OPT_LIST_META_CONTEXT;
    g_autofree bool *bitmaps = NULL;
    NBDMetaQuery q = { false };
    NBDExport *exp;
    int ret;

    if (!c->structured_reply) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "request option '%s' "
                          "when structured reply is not negotiated",
                          list ? "list meta context" : "set meta context");
    }
    if (!name) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "the option is too short");
    }
    exp = nbd_export_find(name);
    if (!exp) {
        return send_error(c, o, NBD_REP_ERR_UNKNOWN,
                          "export '%s' not present", name);
    }
    q.bitmaps = bitmaps = g_new0(bool, exp->n_bitmaps + 1);
    if (!meta_queries(o, exp, list, &q)) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "the queries are not of "
                          "the length that they say");
    }
    blk_exp_ref(&exp->common);
    ret = send_all_meta(c, o, exp, &q);
    if (ret == 0 && !list) {
        c->meta_export = exp->serial;
        c->base_allocation = q.base_allocation;
        c->allocation_depth = q.allocation_depth;
        g_free(c->bitmaps);
        c->bitmaps = g_steal_pointer(&bitmaps);
    }
    blk_exp_unref(&exp->common);
    return ret;
}

/* --- how requests and replies look --- */

static int coroutine_fn opt_structured_reply(NBDClient *c, NBDOption *o)
{
    if (o->len) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "option 'structured "
                          "reply' should have zero length");
    }
    if (c->extended) {
        return send_error(c, o, NBD_REP_ERR_EXT_HEADER_REQD,
                          "extended headers already negotiated");
    }
    if (c->structured_reply) {
        return send_error(c, o, NBD_REP_ERR_INVALID,
                          "structured reply already negotiated");
    }
    c->structured_reply = true;
    return send_ack(c, o);
}

static int coroutine_fn opt_extended_headers(NBDClient *c, NBDOption *o)
{
    if (o->len) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "option 'extended "
                          "headers' should have zero length");
    }
    if (c->extended) {
        return send_error(c, o, NBD_REP_ERR_INVALID,
                          "extended headers already negotiated");
    }
    c->structured_reply = true;
    c->extended = true;
    return send_ack(c, o);
}

/* --- TLS --- */

/* TLS makes all earlier agreements void. */
static void forget_options(NBDClient *c)
{
    c->structured_reply = false;
    c->extended = false;
    c->meta_export = 0;
    c->base_allocation = false;
    c->allocation_depth = false;
    g_clear_pointer(&c->bitmaps, g_free);
}

static int coroutine_fn opt_starttls(NBDClient *c, NBDOption *o)
{
    if (!c->tls_creds) {
        return send_error(c, o, NBD_REP_ERR_POLICY, "TLS not configured");
    }
    if (c->tls) {
        return send_error(c, o, NBD_REP_ERR_INVALID, "TLS already enabled");
    }
    if (o->len) {
        return send_error(c, o, NBD_REP_ERR_INVALID,
                          "option 'starttls' should have zero length");
    }
#ifdef CONFIG_GNUTLS
    {
        int ret = send_ack(c, o);

        forget_options(c);
        return ret < 0 ? ret : nbd_client_start_tls(c);
    }
#else
    forget_options(c);
    return -EINVAL;
#endif
}

/* --- the loop --- */

static int coroutine_fn handle_option(NBDClient *c, NBDOption *o)
{
    if (c->tls_creds && !c->tls && o->option != NBD_OPT_STARTTLS &&
        o->option != NBD_OPT_ABORT) {
        /* There is no answer that refuses the old way. */
        return o->option == NBD_OPT_EXPORT_NAME ? -EPERM :
               send_error(c, o, NBD_REP_ERR_TLS_REQD,
                          "Option 0x%x not permitted before TLS", o->option);
    }
    switch (o->option) {
    case NBD_OPT_STARTTLS:
        return opt_starttls(c, o);
    case NBD_OPT_LIST:
        return opt_list(c, o);
    case NBD_OPT_ABORT:
        /* Who does not wait for the answer does not get it. */
        send_ack(c, o);
        return -EPIPE;
    case NBD_OPT_EXPORT_NAME:
        return opt_export_name(c, o);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return opt_go(c, o);
    case NBD_OPT_STRUCTURED_REPLY:
        return opt_structured_reply(c, o);
    case NBD_OPT_EXTENDED_HEADERS:
        return opt_extended_headers(c, o);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return opt_meta_context(c, o);
    default:
        return send_error(c, o, NBD_REP_ERR_UNSUP,
                          "Unsupported option %u", o->option);
    }
}

/* An option that is too long: read it all, and refuse it. */
static int coroutine_fn refuse_long(NBDClient *c, NBDOption *o)
{
    uint8_t scratch[4096];
    uint32_t left = o->len;

    if (o->option == NBD_OPT_EXPORT_NAME || left > 16 * MiB) {
        return -EINVAL;
    }
    while (left) {
        uint32_t n = MIN(left, sizeof(scratch));
        int ret = nbd_client_read(c, scratch, n);

        if (ret < 0) {
            return ret;
        }
        left -= n;
    }
    return send_error(c, o, NBD_REP_ERR_TOO_BIG, "the option is longer than "
                      "%d bytes", NBD_MAX_OPTION);
}

static int coroutine_fn one_option(NBDClient *c)
{
    NBDOptionHeader header;
    NBDOption o = { 0 };
    int ret;

    ret = nbd_client_read(c, &header, sizeof(header));
    if (ret < 0) {
        return ret;
    }
    if (be64toh(header.magic) != NBD_OPTS_MAGIC) {
        return -EINVAL;
    }
    o.option = be32toh(header.option);
    o.len = be32toh(header.len);
    if (o.len > NBD_MAX_OPTION) {
        return refuse_long(c, &o);
    }
    o.data = g_malloc(MAX(o.len, 1));
    ret = nbd_client_read(c, o.data, o.len);
    if (ret == 0) {
        ret = handle_option(c, &o);
    }
    g_free(o.data);
    return ret;
}

int coroutine_fn nbd_negotiate(NBDClient *c)
{
    struct {
        uint64_t magic;
        uint64_t opts_magic;
        uint16_t flags;
    } QEMU_PACKED hello = {
        htobe64(NBD_INIT_MAGIC), htobe64(NBD_OPTS_MAGIC),
        htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
    };
    uint32_t flags;
    int ret;

    ret = nbd_client_write(c, &hello, sizeof(hello));
    if (ret == 0) {
        ret = nbd_client_read(c, &flags, sizeof(flags));
    }
    if (ret < 0) {
        return ret;
    }
    flags = be32toh(flags);
    if (flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
        return -EINVAL;
    }
    c->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    while (ret == 0 && !c->exp) {
        ret = one_option(c);
    }
    return ret;
}
