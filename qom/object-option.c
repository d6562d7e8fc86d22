/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The option --object of the programs. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-qom.h"
#include "qemu/option.h"
#include "qom/objects.h"

static void G_GNUC_NORETURN list_object_types(void)
{
    int i;

    printf("List of user creatable objects:\n");
    for (i = 0; i < OBJECT_TYPE__MAX; i++) {
        if (user_object_type(i)) {
            printf("  %s\n", ObjectType_str(i));
        }
    }
    exit(EXIT_SUCCESS);
}

static gint compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "TYPE,help" lists what the type has; what is no type, the types. */
void user_object_option_help(const char *arg)
{
    g_autofree char *name = g_strndup(arg, strcspn(arg, ","));
    int kind = qapi_enum_parse(&ObjectType_lookup, name, -1, NULL);
    g_autoptr(GPtrArray) lines = NULL;
    const ObjectProperty *p;
    guint i;

    if (*arg == '{' || !qopts_has_help(arg)) {
        return;
    }
    if (kind < 0 || !user_object_type(kind)) {
        g_free(g_steal_pointer(&name));
        list_object_types();
    }
    lines = g_ptr_array_new_with_free_func(g_free);
    for (p = user_object_type(kind)->properties; p->name; p++) {
        g_ptr_array_add(lines, g_strdup_printf("  %s=<%s>", p->name, p->type));
    }
    g_ptr_array_sort(lines, compare_lines);
    printf("%s options:\n", ObjectType_str(kind));
    for (i = 0; i < lines->len; i++) {
        printf("%s\n", (const char *)lines->pdata[i]);
    }
    g_ptr_array_unref(g_steal_pointer(&lines));
    g_free(g_steal_pointer(&name));
    exit(EXIT_SUCCESS);
}

bool user_object_add_option(const char *arg, Error **errp)
{
    ObjectOptions *opts;
    Error *local_err = NULL;

    user_object_option_help(arg);
    if (!qapi_parse_option(&qapi_type_ObjectOptions, arg, "qom-type", &opts,
                           errp)) {
        return false;
    }
    qmp_object_add(opts, &local_err);
    qapi_free_ObjectOptions(opts);
    error_propagate(errp, local_err);
    return !local_err;
}

bool user_objects_take_options(int *argc, char **argv, Error **errp)
{
    static const char option[] = "--object";
    int from, to = 1;

    for (from = 1; from < *argc && strcmp(argv[from], "--"); from++) {
        const char *arg = NULL;

        if (g_str_has_prefix(argv[from], "--object=")) {
            arg = argv[from] + strlen("--object=");
        } else if (!strcmp(argv[from], option)) {
            arg = argv[++from];
            if (!arg) {
                error_setg(errp, "option '%s' requires an argument", option);
                return false;
            }
        }
        if (!arg) {
            argv[to++] = argv[from];
        } else if (!user_object_add_option(arg, errp)) {
            return false;
        }
    }
    while (from < *argc) {
        argv[to++] = argv[from++];
    }
    argv[to] = NULL;
    *argc = to;
    return true;
}
