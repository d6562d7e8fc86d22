/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands: the list of them, and the call of one.
 */
#ifndef QAPI_QMP_DISPATCH_H
#define QAPI_QMP_DISPATCH_H

#include "qapi/util.h"

/* *@ret stays NULL where the command returns nothing. */
typedef void QmpCommandFunc(struct json_object *args,
                            struct json_object **ret, Error **errp);

typedef enum QmpCommandOptions {
    QCO_NO_OPTIONS      = 0x0,
    QCO_NO_SUCCESS_RESP = 0x1,
    QCO_ALLOW_OOB       = 0x2,  /* runs in the thread that reads it */
    QCO_ALLOW_PRECONFIG = 0x4,
    QCO_COROUTINE       = 0x8,  /* must be called in a coroutine */
    QCO_DEPRECATED      = 0x10,
} QmpCommandOptions;

typedef struct QmpCommand QmpCommand;

/* In the order in which they were registered. */
typedef struct QmpCommandList {
    GPtrArray *commands;
} QmpCommandList;

void qmp_command_list_init(QmpCommandList *cmds);
void qmp_command_list_destroy(QmpCommandList *cmds);

/* @name must stay valid and must not be there yet. */
void qmp_register_command(QmpCommandList *cmds, const char *name,
                          QmpCommandFunc *fn, unsigned options);
/* NULL if there is none. */
const QmpCommand *qmp_find_command(const QmpCommandList *cmds,
                                   const char *name);
const char *qmp_command_name(const QmpCommand *cmd);
bool qmp_has_success_response(const QmpCommand *cmd);
bool qmp_command_is_coroutine(const QmpCommand *cmd);
typedef void qmp_cmd_callback_fn(const QmpCommand *cmd, void *opaque);
void qmp_for_each_command(const QmpCommandList *cmds,
                          qmp_cmd_callback_fn *fn, void *opaque);

/* True unless @args has a member; then @errp names it. */
bool qmp_no_arguments(struct json_object *args, Error **errp);

/*
 * The command that @request asks for, or NULL with @errp set.  Whether
 * commands may run out of band says @allow_oob.  *@oob says whether this one
 * is asked for out of band.
 */
const QmpCommand *qmp_dispatch_check(const QmpCommandList *cmds,
                                     struct json_object *request,
                                     bool allow_oob, bool *oob,
                                     Error **errp);
/*
 * Run @cmd with the arguments of @request: in a coroutine if
 * qmp_command_is_coroutine() says so, else outside of coroutines.  Returns
 * the response, a new reference; NULL if there is to be none.
 */
struct json_object *qmp_dispatch_run(const QmpCommand *cmd,
                                     struct json_object *request);

/* A response {"error": ...}; frees @err. */
struct json_object *qmp_error_response(Error *err);

#endif
