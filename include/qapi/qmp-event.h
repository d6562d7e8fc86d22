/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of events, from the functions qapi_event_send_*() to the monitors.
 * A program without monitors sets no function, and events are dropped.
 */
#ifndef QAPI_QMP_EVENT_H
#define QAPI_QMP_EVENT_H

#include "qapi/util.h"

/* @qdict is the whole event; the function must not keep it unreferenced. */
typedef void QapiEventFunc(int event, struct json_object *qdict);

/* Set before other threads run; NULL drops events. */
void qapi_event_set_func(QapiEventFunc *func);

/*
 * Send @event with @data, whose reference is taken (NULL: the event has no
 * data), and with the time.  Any thread.
 */
void qapi_event_emit(int event, struct json_object *data);

#endif
