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

/* "TYPE,help"; what is no type gets its error from the schema. */
static void help_for_object(const char *arg)
{
    g_autofree char *name = g_strndup(arg, strcspn(arg, ","));
    int kind = qapi_enum_parse(&ObjectType_lookup, name, -1, NULL);
    const ObjectProperty *p;

    if (kind < 0 || !user_object_type(kind) || !qopts_has_help(arg)) {
        return;
    }
    printf("%s properties:\n", ObjectType_str(kind));
    g_free(g_steal_pointer(&name));
    for (p = user_object_type(kind)->properties; p->name; p++) {
        printf("  %s=<%s>\n", p->name, p->type);
    }
    exit(EXIT_SUCCESS);
}

bool user_object_add_option(const char *arg, Error **errp)
{
    ObjectOptions *opts;
    Error *local_err = NULL;

    if (qopts_is_help(arg)) {
        list_object_types();
    }
    help_for_object(arg);
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
