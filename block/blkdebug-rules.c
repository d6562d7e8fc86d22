/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: reading rules, from a file or from options.
 *
 * The file has sections [inject-error] and [set-state] with lines
 * KEY = "VALUE"; empty lines and those that begin with '#' do not count.
 */
#include "qemu/osdep.h"
#include "blkdebug.h"

static const char *const io_type_names[] = {
    "read", "write", "write-zeroes", "discard", "flush", "block-status", NULL
};

int blkdebug_find_event(const char *name)
{
    int i;

    for (i = 0; i < BLKDBG__MAX; i++) {
        if (!strcmp(BlkdebugEvent_lookup.array[i], name)) {
            return i;
        }
    }
    return -1;
}

void blkdebug_rule_free(BlkdebugRule *rule)
{
    g_free(rule->tag);
    g_free(rule);
}

static bool take_int(QOpts *opts, const char *key, int def, int *value,
                     Error **errp)
{
    uint64_t n;

    if (!qopts_take_number(opts, key, def, &n, errp)) {
        return false;
    }
    if (n > INT_MAX) {
        error_setg(errp, "Parameter '%s' is too large", key);
        return false;
    }
    *value = n;
    return true;
}

static bool take_sector(QOpts *opts, int64_t *offset, Error **errp)
{
    g_autofree char *str = NULL;
    uint64_t n;

    if (!qopts_has(opts, "sector")) {
        *offset = -1;
        return true;
    }
    /* "-1", any sector, is what old configurations say. */
    if (qopts_get_str(opts, "sector") &&
        !strcmp(qopts_get_str(opts, "sector"), "-1")) {
        *offset = -1;
        return qopts_take_str(opts, "sector", NULL, &str, errp);
    }
    if (!qopts_take_number(opts, "sector", 0, &n, errp)) {
        return false;
    }
    if (n > BDRV_MAX_LENGTH / BDRV_SECTOR_SIZE) {
        error_setg(errp, "Parameter 'sector' is too large");
        return false;
    }
    *offset = n * BDRV_SECTOR_SIZE;
    return true;
}

static bool fill_inject_error(BlkdebugRule *rule, QOpts *opts, Error **errp)
{
    uint64_t delay;
    int type;

    if (!take_int(opts, "errno", EIO, &rule->error, errp) ||
        !qopts_take_number(opts, "delay-ns", 0, &delay, errp) ||
        !take_sector(opts, &rule->offset, errp) ||
        !qopts_take_bool(opts, "once", false, &rule->once, errp) ||
        !qopts_take_bool(opts, "immediately", false, &rule->immediately,
                         errp) ||
        !qopts_take_enum(opts, "iotype", io_type_names, -1, &type, errp)) {
        return false;
    }
    rule->io_types = type < 0 ? BLKDEBUG_IO_DEFAULT : 1 << type;
    rule->delay_ns = MIN(delay, INT64_MAX);
    return true;
}

/* The rest of @opts, after all that is known was taken. */
static bool check_rest(const QOpts *opts, const char *section, Error **errp)
{
    const char *key = qopts_first_key(opts);

    if (key) {
        error_setg(errp, "[%s] section doesn't support the option '%s'",
                   section, key);
        return false;
    }
    return true;
}

/* One rule; @opts stays the caller's, but emptied. */
static int add_rule(BlkdebugRuleList *rules, const char *section,
                    QOpts *opts, Error **errp)
{
    g_autofree char *name = NULL;
    BlkdebugRule *rule;
    int event;
    bool ok;

    if (!qopts_take_str(opts, "event", NULL, &name, errp)) {
        return -EINVAL;
    }
    if (!name) {
        error_setg(errp, "Missing event name for rule");
        return -EINVAL;
    }
    event = blkdebug_find_event(name);
    if (event < 0) {
        error_setg(errp, "invalid parameter value: %s (not an event of "
                   "blkdebug)", name);
        return -EINVAL;
    }
    rule = g_new0(BlkdebugRule, 1);
    ok = take_int(opts, "state", 0, &rule->state, errp);
    if (!strcmp(section, "inject-error")) {
        rule->action = BLKDEBUG_INJECT_ERROR;
        ok = ok && fill_inject_error(rule, opts, errp);
    } else {
        rule->action = BLKDEBUG_SET_STATE;
        ok = ok && take_int(opts, "new_state", 0, &rule->new_state, errp);
    }
    if (!ok || !check_rest(opts, section, errp)) {
        blkdebug_rule_free(rule);
        return -EINVAL;
    }
    QTAILQ_INSERT_TAIL(&rules[event], rule, next);
    return 0;
}

/* "[NAME]" or "[NAME "ID"]": the name, to be freed; NULL: not known. */
static char *parse_section(const char *line, Error **errp)
{
    const char *end = strchr(line, ']');
    g_autofree char *name = NULL;

    if (!end) {
        error_setg(errp, "no ']' at the end of a section's name");
        return NULL;
    }
    name = g_strndup(line + 1, strcspn(line + 1, " ]"));
    if (strcmp(name, "inject-error") && strcmp(name, "set-state")) {
        error_setg(errp, "There is no option group '%s'", name);
        return NULL;
    }
    return g_steal_pointer(&name);
}

/* KEY = "VALUE"; the quotes are part of the format. */
static int parse_assignment(char *line, QOpts *opts, Error **errp)
{
    g_auto(GStrv) part = g_strsplit(line, "=", 2);
    size_t len;

    if (!part[0] || !part[1]) {
        error_setg(errp, "parse error: '%s'", line);
        return -EINVAL;
    }
    g_strstrip(part[0]);
    g_strstrip(part[1]);
    len = strlen(part[1]);
    if (!part[0][0] || len < 2 || part[1][0] != '"' ||
        part[1][len - 1] != '"') {
        error_setg(errp, "parse error: '%s' is not KEY = \"VALUE\"", line);
        return -EINVAL;
    }
    part[1][len - 1] = '\0';
    qopts_set_str(opts, part[0], part[1] + 1);
    return 0;
}

typedef struct ConfigReader {
    BlkdebugRuleList *rules;
    char *section;              /* NULL before the first */
    QOpts *opts;                /* of the section */
} ConfigReader;

static int end_section(ConfigReader *r, Error **errp)
{
    int ret = 0;

    if (r->section) {
        ret = add_rule(r->rules, r->section, r->opts, errp);
    }
    g_free(r->section);
    qopts_unref(r->opts);
    r->section = NULL;
    r->opts = NULL;
    return ret;
}

static int read_line(ConfigReader *r, char *line, Error **errp)
{
    int ret;

    g_strstrip(line);
    if (!line[0] || line[0] == '#') {
        return 0;
    }
    if (line[0] != '[') {
        if (!r->section) {
            error_setg(errp, "no group defined");
            return -EINVAL;
        }
        return parse_assignment(line, r->opts, errp);
    }
    ret = end_section(r, errp);
    if (ret == 0) {
        r->section = parse_section(line, errp);
        r->opts = qopts_new();
        ret = r->section ? 0 : -EINVAL;
    }
    return ret;
}

int blkdebug_read_config(BlkdebugRuleList *rules, const char *filename,
                         Error **errp)
{
    ConfigReader r = { .rules = rules };
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autoptr(GError) gerr = NULL;
    int ret = 0;
    int i;

    if (!g_file_get_contents(filename, &text, NULL, &gerr)) {
        error_setg(errp, "Could not read blkdebug config file: %s",
                   g_error_matches(gerr, G_FILE_ERROR, G_FILE_ERROR_NOENT) ?
                   strerror(ENOENT) : gerr->message);
        return -EINVAL;
    }
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i] && ret == 0; i++) {
        ret = read_line(&r, lines[i], errp);
    }
    if (ret == 0) {
        return end_section(&r, errp);
    }
    g_free(r.section);
    qopts_unref(r.opts);
    return ret;
}

static int take_section(BlkdebugRuleList *rules, const char *section,
                        QOpts *options, Error **errp)
{
    g_autofree char *prefix = g_strdup_printf("%s.", section);
    QOpts *all = qopts_extract_sub(options, prefix);
    const char *key;
    int ret = 0;

    while (ret == 0 && (key = qopts_first_key(all))) {
        const char *dot = strchr(key, '.');
        g_autofree char *index = NULL;
        QOpts *one;

        if (!dot) {
            error_setg(errp, "'%s.%s' is not an option of a rule",
                       section, key);
            ret = -EINVAL;
            break;
        }
        index = g_strndup(key, dot - key + 1);
        one = qopts_extract_sub(all, index);
        ret = add_rule(rules, section, one, errp);
        qopts_unref(one);
    }
    qopts_unref(all);
    return ret;
}

int blkdebug_take_rules(BlkdebugRuleList *rules, QOpts *options,
                        Error **errp)
{
    int ret = take_section(rules, "inject-error", options, errp);

    return ret < 0 ? ret : take_section(rules, "set-state", options, errp);
}
