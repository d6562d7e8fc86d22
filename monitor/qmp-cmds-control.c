/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the monitor: capabilities, version, commands, schema. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor-internal.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/qapi-introspect.h"
#include "qemu/version.h"

void qmp_qmp_capabilities(QMPCapabilityList *enable, Error **errp)
{
    bool oob = false;

    for (; enable; enable = enable->next) {
        if (enable->value == QMP_CAPABILITY_OOB) {
            oob = true;
        }
    }
    qmp_negotiated(monitor_cur(), oob);
}

VersionInfo *qmp_query_version(Error **errp)
{
    VersionInfo *info = g_new0(VersionInfo, 1);
    char end;

    info->qemu = g_new0(VersionTriple, 1);
    if (sscanf(QEMU_VERSION, "%" SCNd64 ".%" SCNd64 ".%" SCNd64 "%c",
               &info->qemu->major, &info->qemu->minor, &info->qemu->micro,
               &end) != 3) {
        g_assert_not_reached();
    }
    info->package = g_strdup(QEMU_PKGVERSION);
    return info;
}

struct json_object *qmp_version_json(void)
{
    g_autoptr(VersionInfo) info = qmp_query_version(&error_abort);

    return QAPI_TO_JSON(VersionInfo, info);
}

static void add_name(CommandInfoList **list, const char *name)
{
    CommandInfo *info = g_new0(CommandInfo, 1);

    info->name = g_strdup(name);
    QAPI_LIST_PREPEND(*list, info);
}

static void add_command(const QmpCommand *cmd, void *opaque)
{
    add_name(opaque, qmp_command_name(cmd));
}

CommandInfoList *qmp_query_commands(Error **errp)
{
    CommandInfoList *list = NULL;

    qmp_for_each_command(&qmp_commands, add_command, &list);
    /* It is on a list of its own: see qmp.c. */
    add_name(&list, "qmp_capabilities");
    return list;
}

/* The answer is text already; the generator makes no structures of it. */
static void marshal_query_qmp_schema(struct json_object *args,
                                     struct json_object **ret, Error **errp)
{
    if (qmp_no_arguments(args, errp)) {
        *ret = json_tokener_parse(qmp_schema_json);
        assert(*ret);
    }
}

void monitor_register_schema_command(void)
{
    qmp_register_command(&qmp_commands, "query-qmp-schema",
                         marshal_query_qmp_schema, QCO_ALLOW_PRECONFIG);
}
