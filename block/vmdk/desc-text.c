/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text descriptor of a VMDK image as text: whether some text is one, and
 * a copy of it with another value.  All else is kept as it is.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    return p;
}

/* Behind the letters of @word at *@p, in any case. */
static bool skip_word(const char **p, const char *end, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(end - *p) < len || g_ascii_strncasecmp(*p, word, len)) {
        return false;
    }
    *p += len;
    return true;
}

/* Behind "@key =" and blanks around it. */
static bool skip_key(const char **p, const char *end, const char *key)
{
    if (!skip_word(p, end, key)) {
        return false;
    }
    *p = skip_blanks(*p, end);
    if (!skip_word(p, end, "=")) {
        return false;
    }
    *p = skip_blanks(*p, end);
    return true;
}

/* --- other values --- */

/*
 * The value of the next line "@key=..." from *@p on, which is the beginning
 * of a line or the end; NULL if there is none.  *@p is then behind the line.
 */
static const char *next_value(const char **p, const char *key, size_t *len)
{
    while (**p) {
        const char *end = *p + strcspn(*p, "\r\n");
        const char *value = skip_blanks(*p, end);
        bool found = skip_key(&value, end, key);

        *p = end + strspn(end, "\r\n");
        if (found) {
            *len = strcspn(value, "\r\n\x1a");
            return value;
        }
    }
    return NULL;
}

static const char *skip_text_mark(const char *text)
{
    return text + (g_str_has_prefix(text, VMDK_UTF8_MARK)
                   ? strlen(VMDK_UTF8_MARK) : 0);
}

static char *replace_cid(const char *text, const char *key, uint32_t cid)
{
    const char *p = skip_text_mark(text);
    const char *value;
    size_t len;
    GString *out = NULL;

    /* All of them: they have to stay the same. */
    while ((value = next_value(&p, key, &len))) {
        if (!out) {
            out = g_string_new("");
        }
        g_string_append_len(out, text, value - text);
        /* In place of a short one, if it fits: so nothing moves. */
        g_string_append_printf(out, "%0*x", len < 8 && !(cid >> (4 * len))
                                            ? (int)len : 8, cid);
        for (; len > 8; len--) {
            g_string_append_c(out, ' ');
            value++;
        }
        text = value + len;
    }
    if (!out) {
        return NULL;
    }
    g_string_append(out, text);
    return g_string_free(out, false);
}

char *vmdk_desc_replace_cid(const char *text, uint32_t cid)
{
    return replace_cid(text, "CID", cid);
}

char *vmdk_desc_replace_parent_cid(const char *text, uint32_t cid)
{
    return replace_cid(text, "parentCID", cid);
}

/* Whether the line at @p, which ends at @end, has a value for @key. */
static bool line_has_key(const char *p, const char *end, const char *key)
{
    p = skip_blanks(p, end);
    return skip_key(&p, end, key);
}

char *vmdk_desc_replace_hint(const char *text, const char *hint)
{
    const char *p = skip_text_mark(text);
    GString *out = g_string_new_len(text, p - text);
    gsize behind = 0;           /* where a new line would go */
    bool written = !hint;

    while (*p) {
        const char *end = p + strcspn(p, "\r\n\x1a");
        const char *next = end + strspn(end, "\x1a");

        next += strncmp(next, "\r\n", 2) ? !!*next : 2;
        if (!line_has_key(p, end, "parentFileNameHint")) {
            g_string_append_len(out, p, next - p);
        } else if (!written) {
            g_string_append_printf(out, "parentFileNameHint=\"%s\"", hint);
            g_string_append_len(out, end, next - end);
            written = true;
        }
        if (line_has_key(p, end, "parentCID")
            || line_has_key(p, end, "createType")) {
            behind = out->len;
        }
        p = next;
    }
    if (!written) {
        g_autofree char *line = g_strdup_printf("parentFileNameHint=\"%s\"\n",
                                                hint);

        g_string_insert(out, behind, line);
    }
    return g_string_free(out, false);
}

/* --- probing --- */

/* "# Disk DescriptorFile", as each known writer begins. */
static bool is_title(const char *p, const char *end)
{
    p = skip_blanks(p + 1, end);
    return skip_word(&p, end, "Disk") && (p = skip_blanks(p, end))
           && skip_word(&p, end, "DescriptorFile");
}

static bool is_version(const char *p, const char *end)
{
    if (!skip_key(&p, end, "version")) {
        return false;
    }
    skip_word(&p, end, "\"");
    if (p == end || *p < '1' || *p > '3') {
        return false;
    }
    p++;
    skip_word(&p, end, "\"");
    return skip_blanks(p, end) == end;
}

bool vmdk_desc_is_utf16(const char *text)
{
    return g_str_has_prefix(text, "\xff\xfe")
           || g_str_has_prefix(text, "\xfe\xff");
}

/* The first line that is no remark, or the title; @cr: lines may end by CR. */
static bool probe_lines(const char *p, const char *end, bool cr)
{
    while (p < end) {
        const char *eol = p;
        const char *next;

        while (eol < end && *eol != '\n' && !(cr && *eol == '\r')) {
            eol++;
        }
        next = eol + 1;
        eol -= eol > p && eol[-1] == '\r';
        p = skip_blanks(p, eol);
        if (p < eol && *p == '#' && is_title(p, eol)) {
            return true;
        }
        if (p < eol && *p != '#') {
            return is_version(p, eol);
        }
        p = next;
    }
    return false;
}

int vmdk_desc_probe(const char *buf, int size)
{
    const char *p = buf;
    const char *end = buf + size;

    skip_word(&p, end, VMDK_UTF8_MARK);
    /*
     * Also what QEMU takes for one, to which a CR alone ends no line: a guest
     * must not write that to a disk whose format is guessed.
     */
    return probe_lines(p, end, true) || probe_lines(p, end, false) ? 100 : 0;
}
