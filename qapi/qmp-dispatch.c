/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of QMP commands, and the way from a request to a response. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qapi/qmp/dispatch.h"

struct QmpCommand {
    const char *name;
    QmpCommandFunc *fn;
    unsigned options;
};

/* By their ErrorClass. */
static const char *const class_names[] = {
    [ERROR_CLASS_GENERIC_ERROR] = "GenericError",
    [ERROR_CLASS_COMMAND_NOT_FOUND] = "CommandNotFound",
    [ERROR_CLASS_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [ERROR_CLASS_DEVICE_NOT_FOUND] = "DeviceNotFound",
};

void qmp_command_list_init(QmpCommandList *cmds)
{
    cmds->commands = g_ptr_array_new_with_free_func(g_free);
}

void qmp_command_list_destroy(QmpCommandList *cmds)
{
    g_ptr_array_unref(cmds->commands);
    cmds->commands = NULL;
}

void qmp_register_command(QmpCommandList *cmds, const char *name,
                          QmpCommandFunc *fn, unsigned options)
{
    QmpCommand *cmd = g_new(QmpCommand, 1);

    assert(!qmp_find_command(cmds, name));
    assert(!(options & QCO_COROUTINE) || !(options & QCO_ALLOW_OOB));
    cmd->name = name;
    cmd->fn = fn;
    cmd->options = options;
    g_ptr_array_add(cmds->commands, cmd);
}

const QmpCommand *qmp_find_command(const QmpCommandList *cmds,
                                   const char *name)
{
    guint i;

    for (i = 0; i < cmds->commands->len; i++) {
        const QmpCommand *cmd = g_ptr_array_index(cmds->commands, i);

        if (!strcmp(cmd->name, name)) {
            return cmd;
        }
    }
    return NULL;
}

const char *qmp_command_name(const QmpCommand *cmd)
{
    return cmd->name;
}

bool qmp_has_success_response(const QmpCommand *cmd)
{
    return !(cmd->options & QCO_NO_SUCCESS_RESP);
}

bool qmp_command_is_coroutine(const QmpCommand *cmd)
{
    return cmd->options & QCO_COROUTINE;
}

void qmp_for_each_command(const QmpCommandList *cmds,
                          qmp_cmd_callback_fn *fn, void *opaque)
{
    guint i;

    for (i = 0; i < cmds->commands->len; i++) {
        fn(g_ptr_array_index(cmds->commands, i), opaque);
    }
}

bool qmp_no_arguments(struct json_object *args, Error **errp)
{
    struct json_object_iterator it;

    if (!args || !json_object_object_length(args)) {
        return true;
    }
    it = json_object_iter_begin(args);
    error_setg(errp, "Parameter '%s' is unexpected",
               json_object_iter_peek_name(&it));
    return false;
}

/* One member of the request itself. */
static bool check_member(const char *name, struct json_object *value,
                         bool allow_oob, const char **command, bool *oob,
                         Error **errp)
{
    if (!strcmp(name, "execute") ||
        (!strcmp(name, "exec-oob") && allow_oob)) {
        if (!json_object_is_type(value, json_type_string)) {
            error_setg(errp, "QMP input member '%s' must be a string", name);
            return false;
        }
        if (*command) {
            error_setg(errp, "QMP input member '%s' clashes with '%s'",
                       name, *oob ? "exec-oob" : "execute");
            return false;
        }
        *command = json_object_get_string(value);
        *oob = !strcmp(name, "exec-oob");
    } else if (!strcmp(name, "arguments")) {
        if (!json_object_is_type(value, json_type_object)) {
            error_setg(errp, "QMP input member 'arguments' must be an "
                       "object");
            return false;
        }
    } else if (strcmp(name, "id")) {
        error_setg(errp, "QMP input member '%s' is unexpected", name);
        return false;
    }
    return true;
}

static const char *check_request(struct json_object *request, bool allow_oob,
                                 bool *oob, Error **errp)
{
    const char *command = NULL;
    struct json_object_iterator it, end;

    if (!json_object_is_type(request, json_type_object)) {
        error_setg(errp, "QMP input must be a JSON object");
        return NULL;
    }
    it = json_object_iter_begin(request);
    end = json_object_iter_end(request);
    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        if (!check_member(json_object_iter_peek_name(&it),
                          json_object_iter_peek_value(&it), allow_oob,
                          &command, oob, errp)) {
            return NULL;
        }
    }
    if (!command) {
        error_setg(errp, "QMP input lacks member 'execute'");
    }
    return command;
}

const QmpCommand *qmp_dispatch_check(const QmpCommandList *cmds,
                                     struct json_object *request,
                                     bool allow_oob, bool *oob,
                                     Error **errp)
{
    const QmpCommand *cmd;
    const char *name;

    *oob = false;
    name = check_request(request, allow_oob, oob, errp);
    if (!name) {
        return NULL;
    }
    cmd = qmp_find_command(cmds, name);
    if (!cmd) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
                  "The command %s has not been found", name);
        return NULL;
    }
    if (*oob && !(cmd->options & QCO_ALLOW_OOB)) {
        error_setg(errp, "The command %s does not support OOB", name);
        return NULL;
    }
    return cmd;
}

struct json_object *qmp_dispatch_run(const QmpCommand *cmd,
                                     struct json_object *request)
{
    struct json_object *args = NULL, *ret = NULL, *response;
    Error *err = NULL;

    json_object_object_get_ex(request, "arguments", &args);
    cmd->fn(args, &ret, &err);
    if (err) {
        json_object_put(ret);
        return qmp_error_response(err);
    }
    if (!qmp_has_success_response(cmd)) {
        json_object_put(ret);
        return NULL;
    }
    response = json_object_new_object();
    json_object_object_add(response, "return",
                           ret ? ret : json_object_new_object());
    return response;
}

struct json_object *qmp_error_response(Error *err)
{
    struct json_object *error = json_object_new_object();
    struct json_object *response = json_object_new_object();

    json_object_object_add(error, "class", json_object_new_string(
                               class_names[error_get_class(err)]));
    json_object_object_add(error, "desc",
                           json_object_new_string(error_get_pretty(err)));
    json_object_object_add(response, "error", error);
    error_free(err);
    return response;
}
