/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text descriptor of a VMDK image: reading it, and changing its CID.
 *
 * Comments and "ddb." lines are kept as they are, since only the CID is ever
 * changed.  Keys that decide what is opened may be there once.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"

/* The largest disk, so that sums of a few extents cannot overflow. */
#define MAX_SECTORS (BDRV_MAX_LENGTH >> BDRV_SECTOR_BITS)

/* As much of a line as a message quotes: a line can have a megabyte. */
#define QUOTE "%.100s"

const char *const vmdk_type_names[VMDK_TYPE__MAX] = {
    [VMDK_FLAT] = "FLAT",
    [VMDK_SPARSE] = "SPARSE",
    [VMDK_ZERO] = "ZERO",
    [VMDK_VMFS] = "VMFS",
    [VMDK_VMFSSPARSE] = "VMFSSPARSE",
};

static const char *const access_names[] = {
    [VMDK_RW] = "RW",
    [VMDK_RDONLY] = "RDONLY",
    [VMDK_NOACCESS] = "NOACCESS",
};

typedef struct DescParser {
    VmdkDescriptor *desc;
    const char *name;
    bool has_cid;
    bool has_parent_cid;
} DescParser;

static int find_name(const char *const names[], int count, const char *word,
                     size_t len)
{
    int i;

    for (i = 0; i < count; i++) {
        if (strlen(names[i]) == len && !strncmp(names[i], word, len)) {
            return i;
        }
    }
    return -1;
}

/* The next word of *@p; its length, with *@p behind it and the blanks. */
static size_t next_word(const char **p, const char **word)
{
    size_t len = strcspn(*p, " \t");

    *word = *p;
    *p += len;
    *p += strspn(*p, " \t");
    return len;
}

static bool take_number(const char **p, int64_t *value)
{
    const char *word;
    const char *end;
    size_t len = next_word(p, &word);

    return len && g_ascii_isdigit(*word)
           && qemu_strtoi64(word, &end, 10, value) == 0
           && end == word + len && *value <= MAX_SECTORS;
}

/* A name in double quotes; false if it is not one, empty, or too long. */
static bool take_path(const char **p, char **path)
{
    const char *end;

    if (**p != '"') {
        return false;
    }
    end = strchr(*p + 1, '"');
    if (!end || end == *p + 1 || end - *p > PATH_MAX) {
        return false;
    }
    *path = g_strndup(*p + 1, end - *p - 1);
    *p = end + 1;
    *p += strspn(*p, " \t");
    return true;
}

static bool take_extent_rest(VmdkExtentLine *line, const char *p)
{
    if (line->type == VMDK_ZERO && !*p) {
        return true;
    }
    if (!take_path(&p, &line->path)) {
        return false;
    }
    if (line->type == VMDK_FLAT
        || (vmdk_type_is_flat(line->type) && *p)) {
        if (!take_number(&p, &line->offset)) {
            return false;
        }
    } else if (line->type == VMDK_ZERO && *p) {
        take_number(&p, &line->offset);
    }
    /* Some writers add an identifier and a device name for raw devices. */
    return !*p || line->type == VMDK_FLAT;
}

static bool parse_extent(DescParser *d, VmdkAccess access, const char *p,
                         const char *text, Error **errp)
{
    VmdkExtentLine line = { .access = access };
    const char *word;
    size_t len;
    int type;

    if (!take_number(&p, &line.sectors)) {
        goto invalid;
    }
    len = next_word(&p, &word);
    type = find_name(vmdk_type_names, VMDK_TYPE__MAX, word, len);
    if (type < 0) {
        error_setg(errp, "Unsupported extent type '%.*s' in '%s'",
                   (int)MIN(len, 100), word, d->name);
        return false;
    }
    line.type = type;
    if (!take_extent_rest(&line, p)) {
        goto invalid;
    }
    if (d->desc->lines->len >= VMDK_MAX_EXTENTS) {
        error_setg(errp, "More than %d extents in '%s'", VMDK_MAX_EXTENTS,
                   d->name);
        g_free(line.path);
        return false;
    }
    g_array_append_val(d->desc->lines, line);
    return true;

invalid:
    g_free(line.path);
    error_setg(errp, "Invalid extent line: " QUOTE " ('%s')", text, d->name);
    return false;
}

static bool parse_cid(DescParser *d, const char *key, const char *value,
                      bool *seen, uint32_t *cid, Error **errp)
{
    uint64_t number;

    if (*seen) {
        error_setg(errp, "invalid VMDK image descriptor: '%s' is there twice"
                   " in '%s'", key, d->name);
        return false;
    }
    if (parse_uint_full(value, 16, &number) < 0 || number > UINT32_MAX) {
        error_setg(errp, "invalid VMDK image descriptor: %s=" QUOTE " in '%s'",
                   key, value, d->name);
        return false;
    }
    *seen = true;
    *cid = number;
    return true;
}

static bool parse_string(DescParser *d, const char *key, const char *value,
                         char **string, Error **errp)
{
    size_t len = strlen(value);

    if (*string) {
        error_setg(errp, "invalid VMDK image descriptor: '%s' is there twice"
                   " in '%s'", key, d->name);
        return false;
    }
    if (len < 3 || len > PATH_MAX || value[0] != '"' || value[len - 1] != '"'
        || memchr(value + 1, '"', len - 2)) {
        error_setg(errp, "invalid VMDK image descriptor: %s=" QUOTE " in '%s'",
                   key, value, d->name);
        return false;
    }
    *string = g_strndup(value + 1, len - 2);
    return true;
}

static bool parse_assignment(DescParser *d, char *line, char *equals,
                             Error **errp)
{
    char *key = line;
    char *value = g_strstrip(equals + 1);

    *equals = 0;
    g_strchomp(key);
    if (!strcmp(key, "CID")) {
        return parse_cid(d, key, value, &d->has_cid, &d->desc->cid, errp);
    }
    if (!strcmp(key, "parentCID")) {
        return parse_cid(d, key, value, &d->has_parent_cid,
                         &d->desc->parent_cid, errp);
    }
    if (!strcmp(key, "createType")) {
        return parse_string(d, key, value, &d->desc->create_type, errp);
    }
    if (!strcmp(key, "parentFileNameHint")) {
        return parse_string(d, key, value, &d->desc->parent_hint, errp);
    }
    return true;
}

static bool parse_line(DescParser *d, char *line, Error **errp)
{
    const char *p = line;
    const char *word;
    size_t len;
    int access;
    char *equals;

    if (!*line || *line == '#') {
        return true;
    }
    len = next_word(&p, &word);
    access = find_name(access_names, ARRAY_SIZE(access_names), word, len);
    if (access >= 0) {
        return parse_extent(d, access, p, line, errp);
    }
    equals = strchr(line, '=');
    if (!equals) {
        error_setg(errp, "Invalid line in VMDK descriptor '%s': " QUOTE,
                   d->name, line);
        return false;
    }
    return parse_assignment(d, line, equals, errp);
}

static bool check_complete(DescParser *d, Error **errp)
{
    const char *missing = !d->desc->create_type ? "createType"
                          : !d->has_cid ? "CID"
                          : !d->has_parent_cid ? "parentCID" : NULL;
    uint64_t total = 0;
    guint i;

    if (missing) {
        error_setg(errp, "invalid VMDK image descriptor: no %s in '%s'",
                   missing, d->name);
        return false;
    }
    for (i = 0; i < d->desc->lines->len; i++) {
        total += g_array_index(d->desc->lines, VmdkExtentLine, i).sectors;
        if (total > MAX_SECTORS) {
            error_setg(errp, "The extents of '%s' are too large together",
                       d->name);
            return false;
        }
    }
    return true;
}

static void clear_line(void *opaque)
{
    g_free(((VmdkExtentLine *)opaque)->path);
}

bool vmdk_desc_parse(VmdkDescriptor *desc, const char *text,
                     const char *name, Error **errp)
{
    DescParser d = { .desc = desc, .name = name };
    g_autofree char *copy = g_strdup(text);
    char *line = copy;
    bool ok = true;

    memset(desc, 0, sizeof(*desc));
    desc->parent_cid = VMDK_NO_PARENT;
    desc->lines = g_array_new(false, true, sizeof(VmdkExtentLine));
    g_array_set_clear_func(desc->lines, clear_line);
    while (ok && line) {
        char *next = strchr(line, '\n');

        if (next) {
            *next++ = 0;
        }
        ok = parse_line(&d, g_strstrip(line), errp);
        line = next;
    }
    ok = ok && check_complete(&d, errp);
    if (!ok) {
        vmdk_desc_clear(desc);
    }
    return ok;
}

void vmdk_desc_clear(VmdkDescriptor *desc)
{
    g_free(desc->create_type);
    g_free(desc->parent_hint);
    if (desc->lines) {
        g_array_unref(desc->lines);
    }
    memset(desc, 0, sizeof(*desc));
}

/* The value of the line "CID=...": *@len is its length. */
static const char *find_cid(const char *text, size_t *len)
{
    const char *line = text;

    while (line) {
        const char *p = line + strspn(line, " \t");

        if (strstart(p, "CID", &p)) {
            p += strspn(p, " \t");
            if (*p == '=') {
                *len = strcspn(p + 1, "\r\n");
                return p + 1;
            }
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return NULL;
}

char *vmdk_desc_replace_cid(const char *text, uint32_t cid)
{
    size_t old_len;
    const char *old = find_cid(text, &old_len);
    GString *out;

    if (!old) {
        return NULL;
    }
    out = g_string_new_len(text, old - text);
    g_string_append_printf(out, "%08x", cid);
    while (old_len > 8) {
        g_string_append_c(out, ' ');
        old_len--;
    }
    g_string_append(out, old + strcspn(old, "\r\n"));
    return g_string_free(out, false);
}

int vmdk_desc_probe(const char *buf, int size)
{
    const char *p = buf;
    const char *end = buf + size;

    while (p < end) {
        const char *eol = memchr(p, '\n', end - p);

        while (p < end && (*p == ' ' || *p == '\r')) {
            p++;
        }
        if (p < end && *p != '#' && *p != '\n') {
            return end - p >= 10 && !memcmp(p, "version=", 8)
                   && p[8] >= '1' && p[8] <= '3'
                   && (p[9] == '\n' || p[9] == '\r') ? 100 : 0;
        }
        if (!eol) {
            return 0;
        }
        p = eol + 1;
    }
    return 0;
}
