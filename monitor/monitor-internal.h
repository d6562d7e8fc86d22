/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of monitor/ share. */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "monitor/monitor.h"

struct json_object;

/*
 * Takes bytes, gives messages.  The function gets either a message, whose
 * reference is then its own, or an error, which it frees; both are NULL for
 * the message "null".
 */
typedef void QmpMessageFunc(void *opaque, struct json_object *message,
                            Error *err);
typedef struct QmpInput QmpInput;
QmpInput *qmp_input_new(QmpMessageFunc *func, void *opaque);
void qmp_input_free(QmpInput *in);
void qmp_input_feed(QmpInput *in, const char *buf, size_t size);
/* Forget what has come of a message. */
void qmp_input_reset(QmpInput *in);

/* Append @json as QEMU writes it: in one line, or with 4 spaces a level. */
void json_write(GString *out, struct json_object *json, bool pretty);

/* To all monitors with a client that has begun; @event is a JSON object. */
void monitor_broadcast_event(struct json_object *event);
/* Begin to send events, and end. */
void monitor_events_init(void);
void monitor_events_cleanup(void);

/* The commands of a client that has begun. */
extern QmpCommandList qmp_commands;
/* {"qemu": {...}, "package": ...}, a new reference. */
struct json_object *qmp_version_json(void);
/* query-qmp-schema, which is not generated. */
void monitor_register_schema_command(void);
/* The client of @mon has begun; with out-of-band commands if @oob. */
void qmp_negotiated(Monitor *mon, bool oob);

#endif
