/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text descriptor of a VMDK image: reading it.
 *
 * Many programs and people write descriptors.  The parser takes what can mean
 * one thing only: other line ends, blanks, letter case, a byte order mark, an
 * end-of-file character, a key that is repeated with the same value, lines
 * that say nothing about the disk.  A line that may be a damaged extent is
 * refused, since all data behind it would move.
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
    [VMDK_SESPARSE] = "SESPARSE",
};

static const char *const access_names[] = {
    [VMDK_RW] = "RW",
    [VMDK_RDONLY] = "RDONLY",
    [VMDK_NOACCESS] = "NOACCESS",
};

/* The end-of-file character of DOS. */
#define CTRL_Z '\x1a'

typedef struct DescParser {
    VmdkDescriptor *desc;
    const char *name;
    bool embedded;              /* names of extents are not used */
    bool has_cid;
    bool has_parent_cid;
    bool has_hint;              /* perhaps an empty one */
    bool ended;                 /* by CTRL_Z */
} DescParser;

static int find_name(const char *const names[], int count, const char *word,
                     size_t len)
{
    int i;

    for (i = 0; i < count; i++) {
        if (strlen(names[i]) == len
            && !g_ascii_strncasecmp(names[i], word, len)) {
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

/* A number of sectors, decimal or with "0x". */
static bool take_number(const char **p, int64_t *value)
{
    const char *word;
    const char *end;
    size_t len = next_word(p, &word);
    int base = len > 2 && word[0] == '0' && (word[1] | 0x20) == 'x' ? 16 : 10;

    return len && g_ascii_isdigit(*word)
           && qemu_strtoi64(word, &end, base, value) == 0
           && end == word + len && *value <= MAX_SECTORS;
}

/*
 * A name in double quotes; false if it is not one, empty, or too long.
 * @last: the name ends at the last quote of the line, not at the next one.
 */
static bool take_path(const char **p, bool last, char **path)
{
    const char *end;

    if (**p != '"') {
        return false;
    }
    end = last ? strrchr(*p + 1, '"') : strchr(*p + 1, '"');
    if (!end || end == *p + 1 || end - *p > PATH_MAX) {
        return false;
    }
    *path = g_strndup(*p + 1, end - *p - 1);
    *p = end + 1;
    *p += strspn(*p, " \t");
    return true;
}

static bool take_extent_rest(DescParser *d, VmdkExtentLine *line,
                             const char *p)
{
    if (line->type == VMDK_ZERO && !*p) {
        return true;
    }
    /* A name that is not used may contain anything, also quotes. */
    if (!take_path(&p, d->embedded, &line->path)) {
        return false;
    }
    if (line->type == VMDK_FLAT) {
        /* Some writers add an identifier and a name for raw devices. */
        return take_number(&p, &line->offset);
    }
    if (line->type == VMDK_ZERO && *p) {
        take_number(&p, &line->offset);
    }
    return !*p;
}

/* Quotes in pairs: else there is one in a name, and no telling which. */
static bool has_odd_quotes(const char *text)
{
    bool odd = false;

    while ((text = strchr(text, '"'))) {
        odd = !odd;
        text++;
    }
    return odd;
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
    if (!take_extent_rest(d, &line, p)) {
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
    error_setg(errp, "Invalid extent line: " QUOTE " ('%s')%s", text, d->name,
               has_odd_quotes(text) ? ": a name cannot contain a quote, since"
                                      " quotes mark its end" : "");
    return false;
}

static bool bad_value(DescParser *d, const char *key, const char *value,
                      Error **errp)
{
    error_setg(errp, "invalid VMDK image descriptor: %s=" QUOTE " in '%s'",
               key, value, d->name);
    return false;
}

static bool repeated(DescParser *d, const char *key, Error **errp)
{
    error_setg(errp, "invalid VMDK image descriptor: '%s' is there twice"
               " in '%s', with different values", key, d->name);
    return false;
}

/* A copy of @value without the quotes around it; NULL if there is another. */
static char *unquote(const char *value)
{
    size_t len = strlen(value);

    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value++;
        len -= 2;
    }
    return memchr(value, '"', len) ? NULL : g_strndup(value, len);
}

/*
 * A content identifier has 32 bits and is written in hexadecimal digits.
 * Some writers use decimal ones, which shows where it has more than eight
 * digits; of others that are too long the last eight count.
 */
static bool take_cid(const char *text, uint32_t *cid)
{
    size_t len;
    uint64_t number;

    if (text[0] == '0' && (text[1] | 0x20) == 'x') {
        text += 2;
    }
    len = strspn(text, "0123456789abcdefABCDEF");
    if (!len || text[len]) {
        return false;
    }
    while (len > 8 && *text == '0') {
        text++;
        len--;
    }
    if (len > 8 && len <= 10 && strspn(text, "0123456789") == len) {
        number = g_ascii_strtoull(text, NULL, 10);
        if (number <= UINT32_MAX) {
            *cid = number;
            return true;
        }
    }
    *cid = g_ascii_strtoull(text + (len > 8 ? len - 8 : 0), NULL, 16);
    return true;
}

static bool parse_cid(DescParser *d, const char *key, const char *value,
                      bool *seen, uint32_t *cid, Error **errp)
{
    g_autofree char *text = unquote(value);
    uint32_t number;

    if (!text || !take_cid(text, &number)) {
        return bad_value(d, key, value, errp);
    }
    if (*seen && *cid != number) {
        return repeated(d, key, errp);
    }
    *seen = true;
    *cid = number;
    return true;
}

static bool parse_string(DescParser *d, const char *key, const char *value,
                         char **string, Error **errp)
{
    char *text = unquote(value);

    if (!text || !*text || strlen(text) > PATH_MAX) {
        g_free(text);
        return bad_value(d, key, value, errp);
    }
    if (*string && strcmp(*string, text)) {
        g_free(text);
        return repeated(d, key, errp);
    }
    g_free(*string);
    *string = text;
    return true;
}

/* An empty hint says that there is no parent. */
static bool parse_hint(DescParser *d, const char *key, const char *value,
                       Error **errp)
{
    bool empty = !*value || !strcmp(value, "\"\"");

    if (d->has_hint && empty != !d->desc->parent_hint) {
        return repeated(d, key, errp);
    }
    d->has_hint = true;
    return empty || parse_string(d, key, value, &d->desc->parent_hint, errp);
}

static bool parse_version(DescParser *d, const char *key, const char *value,
                          Error **errp)
{
    g_autofree char *text = unquote(value);
    uint64_t version;

    if (!text || parse_uint_full(text, 10, &version) < 0 || version < 1
        || version > 3) {
        return bad_value(d, key, value, errp);
    }
    return true;
}

static bool parse_assignment(DescParser *d, char *line, char *equals,
                             Error **errp)
{
    char *key = line;
    char *value = g_strstrip(equals + 1);
    VmdkDescriptor *desc = d->desc;

    *equals = 0;
    g_strchomp(key);
    if (!g_ascii_strcasecmp(key, "CID")) {
        return parse_cid(d, key, value, &d->has_cid, &desc->cid, errp);
    }
    if (!g_ascii_strcasecmp(key, "parentCID")) {
        return parse_cid(d, key, value, &d->has_parent_cid,
                         &desc->parent_cid, errp);
    }
    if (!g_ascii_strcasecmp(key, "createType")) {
        return parse_string(d, key, value, &desc->create_type, errp);
    }
    if (!g_ascii_strcasecmp(key, "parentFileNameHint")) {
        return parse_hint(d, key, value, errp);
    }
    if (!g_ascii_strcasecmp(key, "version")) {
        return parse_version(d, key, value, errp);
    }
    if (!g_ascii_strcasecmp(key, "encoding")) {
        return parse_string(d, key, value, &desc->encoding, errp);
    }
    if (!g_ascii_strcasecmp(key, "changeTrackPath")) {
        desc->change_tracking |= *value && strcmp(value, "\"\"");
    }
    return true;
}

/* Whether a line with an unknown first word may be about an extent. */
static bool may_be_extent(const char *line)
{
    static const char *const others[] = {
        "VMFSRAW", "VMFSRDM", "VMFSRDMP",
    };
    const char *p = line;
    const char *word;
    size_t len;

    while (*p && *p != '=') {
        len = next_word(&p, &word);
        if (find_name(vmdk_type_names, VMDK_TYPE__MAX, word, len) >= 0
            || find_name(others, ARRAY_SIZE(others), word, len) >= 0) {
            return true;
        }
        if (memchr(word, '=', len)) {
            break;
        }
    }
    return false;
}

bool vmdk_desc_is_extent(const char *line)
{
    const char *p = line + strspn(line, " \t");
    const char *word;
    size_t len = next_word(&p, &word);

    return find_name(access_names, ARRAY_SIZE(access_names), word, len) >= 0;
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
    if (may_be_extent(line)) {
        error_setg(errp, "Invalid line in VMDK descriptor '%s': " QUOTE,
                   d->name, line);
        return false;
    }
    equals = strchr(line, '=');
    return !equals || parse_assignment(d, line, equals, errp);
}

/* The line up to CTRL_Z; nothing may follow that. */
static bool end_text(DescParser *d, char *line, Error **errp)
{
    char *end = strchr(line, CTRL_Z);
    const char *more = end ? end : line;

    while (*more == CTRL_Z || g_ascii_isspace(*more)) {
        more++;
    }
    if (*more && (end || d->ended)) {
        error_setg(errp, "Text behind an end-of-file character in VMDK"
                   " descriptor '%s': " QUOTE, d->name, more);
        return false;
    }
    if (end) {
        *end = 0;
        d->ended = true;
    }
    return true;
}

static bool parse_lines(DescParser *d, char *line, Error **errp)
{
    while (line) {
        char *next = line + strcspn(line, "\r\n");

        next = *next ? next : NULL;
        if (next) {
            *next++ = 0;
        }
        if (!end_text(d, line, errp)
            || !parse_line(d, g_strstrip(line), errp)) {
            return false;
        }
        line = next;
    }
    return true;
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

/* Behind a byte order mark; NULL with @errp set if the text is UTF-16. */
static const char *skip_mark(const char *text, const char *name,
                             Error **errp)
{
    if (vmdk_desc_is_utf16(text)) {
        error_setg(errp, "The VMDK descriptor '%s' is UTF-16 text: save it as"
                   " UTF-8", name);
        return NULL;
    }
    return text + (g_str_has_prefix(text, VMDK_UTF8_MARK)
                   ? strlen(VMDK_UTF8_MARK) : 0);
}

bool vmdk_desc_parse(VmdkDescriptor *desc, const char *text, bool embedded,
                     const char *name, Error **errp)
{
    DescParser d = { .desc = desc, .name = name, .embedded = embedded };
    g_autofree char *copy = NULL;

    memset(desc, 0, sizeof(*desc));
    text = skip_mark(text, name, errp);
    if (!text) {
        return false;
    }
    copy = g_strdup(text);
    desc->parent_cid = VMDK_NO_PARENT;
    desc->lines = g_array_new(false, true, sizeof(VmdkExtentLine));
    g_array_set_clear_func(desc->lines, clear_line);
    if (!parse_lines(&d, copy, errp) || !check_complete(&d, errp)) {
        vmdk_desc_clear(desc);
        return false;
    }
    return true;
}

void vmdk_desc_clear(VmdkDescriptor *desc)
{
    g_free(desc->create_type);
    g_free(desc->parent_hint);
    g_free(desc->encoding);
    if (desc->lines) {
        g_array_unref(desc->lines);
    }
    memset(desc, 0, sizeof(*desc));
}
