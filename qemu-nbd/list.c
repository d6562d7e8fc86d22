/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-nbd --list: what an NBD server exports. */
#include "qemu/osdep.h"
#include "block/nbd-client.h"
#include "qemu-nbd.h"
#include "qemu/option.h"

typedef struct ListedExport {
    char *name;
    char *description;
} ListedExport;

static void listed_export_free(void *opaque)
{
    ListedExport *e = opaque;

    g_free(e->name);
    g_free(e->description);
    g_free(e);
}

static void set_nbd_error(Error **errp)
{
    const char *text = nbd_get_error();

    error_setg(errp, "Failed to ask the NBD server: %s",
               text ? text : "unknown error");
}

static int listed(void *opaque, const char *name, const char *description)
{
    ListedExport *e = g_new0(ListedExport, 1);

    e->name = g_strdup(name);
    e->description = g_strdup(description);
    g_ptr_array_add(opaque, e);
    return 0;
}

static int context_listed(void *opaque, const char *name)
{
    g_ptr_array_add(opaque, g_strdup(name));
    return 0;
}

/* The transmission flags as the server has sent them. */
static void print_flags(struct nbd_handle *h)
{
    const struct {
        int (*ask)(struct nbd_handle *h);
        unsigned bit;
        const char *name;
    } flags[] = {
        { nbd_is_read_only, 0x2, "readonly" },
        { nbd_can_flush, 0x4, "flush" },
        { nbd_can_fua, 0x8, "fua" },
        { nbd_is_rotational, 0x10, "rotational" },
        { nbd_can_trim, 0x20, "trim" },
        { nbd_can_zero, 0x40, "zeroes" },
        { nbd_can_df, 0x80, "df" },
        { nbd_can_multi_conn, 0x100, "multi" },
        { nbd_can_cache, 0x400, "cache" },
        { nbd_can_fast_zero, 0x800, "fast-zero" },
    };
    g_autoptr(GString) names = g_string_new(NULL);
    unsigned sum = 1;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        if (flags[i].ask(h) > 0) {
            sum |= flags[i].bit;
            g_string_append_printf(names, " %s", flags[i].name);
        }
    }
    printf("  flags: 0x%x (%s )\n", sum, names->str);
}

static void print_contexts(struct nbd_handle *h)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    nbd_context_callback cb = {
        .callback = context_listed, .user_data = names,
    };
    guint i;

    if (nbd_clear_meta_contexts(h) < 0 ||
        nbd_opt_list_meta_context(h, cb) < 0 || !names->len) {
        return;
    }
    printf("  available meta contexts: %u\n", names->len);
    for (i = 0; i < names->len; i++) {
        printf("   %s\n", (char *)names->pdata[i]);
    }
}

static void print_export(struct nbd_handle *h, const ListedExport *e)
{
    int64_t min;

    printf(" export: '%s'\n", e->name);
    if (e->description && *e->description) {
        printf("  description: %s\n", e->description);
    }
    if (nbd_set_export_name(h, e->name) < 0 || nbd_opt_info(h) < 0) {
        return;
    }
    printf("  size:  %" PRId64 "\n", nbd_get_size(h));
    print_flags(h);
    min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
    if (min > 0) {
        printf("  min block: %" PRId64 "\n", min);
        printf("  opt block: %" PRId64 "\n",
               nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED));
        printf("  max block: %" PRId64 "\n",
               nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM));
    }
    print_contexts(h);
}

static bool list_all(struct nbd_handle *h, Error **errp)
{
    g_autoptr(GPtrArray) exports =
        g_ptr_array_new_with_free_func(listed_export_free);
    nbd_list_callback cb = { .callback = listed, .user_data = exports };
    guint i;

    if (nbd_opt_list(h, cb) < 0) {
        set_nbd_error(errp);
        return false;
    }
    printf("exports available: %u\n", exports->len);
    for (i = 0; i < exports->len; i++) {
        print_export(h, exports->pdata[i]);
    }
    return true;
}

/* Until the options can be asked for. */
static bool negotiate(struct nbd_handle *h, Error **errp)
{
    while (nbd_aio_is_connecting(h)) {
        if (nbd_poll(h, -1) < 0) {
            set_nbd_error(errp);
            return false;
        }
    }
    if (!nbd_aio_is_negotiating(h)) {
        error_setg(errp, "The server is of the old style of NBD, which has "
                   "no list");
        return false;
    }
    return true;
}

static bool list_server(const NBDParams *p, Error **errp)
{
    struct nbd_handle *h = nbd_create();
    bool ok = false;

    if (!h || nbd_set_opt_mode(h, true) < 0 ||
        nbd_set_full_info(h, true) < 0) {
        set_nbd_error(errp);
    } else if (nbd_connection_begin(h, p, errp) && negotiate(h, errp)) {
        ok = list_all(h, errp);
        nbd_opt_abort(h);
    }
    if (h) {
        nbd_close(h);
    }
    return ok;
}

bool nbd_list_exports(const SocketAddress *addr, const char *tls_creds,
                      const char *tls_hostname, Error **errp)
{
    NBDParams *p;
    bool ok;

    if (!nbd_late_load(errp)) {
        return false;
    }
    p = g_new0(NBDParams, 1);
    p->refcount = 1;
    p->addr = QAPI_CLONE(SocketAddress, addr);
    p->export = g_strdup("");
    ok = nbd_take_tls(p, tls_creds, tls_hostname, errp) && list_server(p, errp);
    nbd_params_unref(p);
    return ok;
}
