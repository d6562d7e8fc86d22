/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A character device that keeps the last of what was written to it. */
#include "qemu/osdep.h"
#include "chardev.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-char.h"

#define RINGBUF_DEFAULT_SIZE 65536
#define RINGBUF_MAX_SIZE (1 << 30)

/* @prod and @cons only grow; their difference is what is there. */
typedef struct CharRingbuf {
    size_t size;
    size_t prod, cons;
    uint8_t *buf;
} CharRingbuf;

static bool ringbuf_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    ChardevRingbuf *opts = backend->u.ringbuf.data;
    int64_t size = opts->has_size ? opts->size : RINGBUF_DEFAULT_SIZE;
    CharRingbuf *ring;

    if (size <= 0 || size & (size - 1)) {
        error_setg(errp, "size of ringbuf chardev must be power of two");
        return false;
    }
    if (size > RINGBUF_MAX_SIZE) {
        error_setg(errp, "size of ringbuf chardev must be at most %d",
                   RINGBUF_MAX_SIZE);
        return false;
    }
    ring = g_new0(CharRingbuf, 1);
    ring->size = size;
    ring->buf = g_malloc0(size);
    chr->opaque = ring;
    chr->filename = g_strdup("ringbuf");
    return true;
}

static void ringbuf_close(Chardev *chr)
{
    CharRingbuf *ring = chr->opaque;

    g_free(ring->buf);
    g_free(ring);
}

static ssize_t ringbuf_write(Chardev *chr, const void *buf, size_t len)
{
    CharRingbuf *ring = chr->opaque;
    const uint8_t *bytes = buf;
    size_t i;

    for (i = 0; i < len; i++) {
        ring->buf[ring->prod++ & (ring->size - 1)] = bytes[i];
    }
    if (ring->prod - ring->cons > ring->size) {
        ring->cons = ring->prod - ring->size;
    }
    return len;
}

const ChardevDriver chardev_ringbuf = {
    .kind = CHARDEV_BACKEND_KIND_RINGBUF,
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_write,
};

static Chardev *find_ringbuf(const char *device, Error **errp)
{
    Chardev *chr = qemu_chr_find(device);

    if (!chr) {
        error_setg(errp, "Device '%s' not found", device);
    } else if (chr->driver != &chardev_ringbuf) {
        error_setg(errp, "%s is not a ringbuf device", device);
        chr = NULL;
    }
    return chr;
}

void qmp_ringbuf_write(const char *device, const char *data, bool has_format,
                       DataFormat format, Error **errp)
{
    Chardev *chr = find_ringbuf(device, errp);
    g_autofree guchar *bytes = NULL;
    g_autofree char *again = NULL;
    gsize len;

    if (!chr) {
        return;
    }
    if (!has_format || format != DATA_FORMAT_BASE64) {
        ringbuf_write(chr, data, strlen(data));
        return;
    }
    /* GLib skips what is no base64: see whether it was all understood. */
    bytes = g_base64_decode(data, &len);
    again = g_base64_encode(bytes, len);
    if (strcmp(again, data)) {
        error_setg(errp, "Base64 data '%s' is not valid", data);
        return;
    }
    ringbuf_write(chr, bytes, len);
}

/* At most @size bytes, those that were there longest. */
static GString *ringbuf_take(CharRingbuf *ring, size_t size)
{
    size_t n = MIN(size, ring->prod - ring->cons);
    GString *data = g_string_sized_new(n);
    size_t i;

    for (i = 0; i < n; i++) {
        g_string_append_c(data, ring->buf[ring->cons++ & (ring->size - 1)]);
    }
    return data;
}

char *qmp_ringbuf_read(const char *device, int64_t size, bool has_format,
                       DataFormat format, Error **errp)
{
    Chardev *chr = find_ringbuf(device, errp);
    GString *data;
    char *text;

    if (!chr) {
        return NULL;
    }
    if (size <= 0) {
        error_setg(errp, "size must be greater than zero");
        return NULL;
    }
    data = ringbuf_take(chr->opaque, size);
    if (has_format && format == DATA_FORMAT_BASE64) {
        text = g_base64_encode((guchar *)data->str, data->len);
        g_string_free(data, true);
        return text;
    }
    /* What is no UTF-8 becomes U+FFFD; a NUL would end the answer. */
    text = g_utf8_make_valid(data->str, data->len);
    g_string_free(data, true);
    return text;
}
