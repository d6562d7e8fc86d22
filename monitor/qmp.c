/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP monitors: clients, their requests, and the answers.
 *
 * Requests are queued in the order in which they come, errors of input among
 * them, and answered in this order.  One command at a time runs, whatever
 * the number of monitors; they take turns.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor-internal.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/qapi-init-commands.h"
#include "qemu/coroutine.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"

/* How long the last output of a monitor that is deleted may take. */
#define QMP_LAST_FLUSH_MS 500

typedef struct Request {
    struct json_object *json;   /* a reference; NULL also for "null" */
    Error *err;                 /* instead of it */
} Request;

struct Monitor {
    CharFrontend fe;
    bool pretty;
    bool connected;
    bool negotiated;
    bool oob;
    unsigned session;           /* grows with each client */
    QmpInput *in;
    GQueue requests;
    GString *out;
    size_t out_pos;             /* what of @out is written */
    bool told_dropped;          /* this client was reported to lose events */
    QTAILQ_ENTRY(Monitor) link;
};

/* A command that runs.  One exists, or none. */
typedef struct Running {
    Monitor *mon;
    unsigned session;
    const QmpCommand *cmd;
    struct json_object *request;
} Running;

/* In the order of their next turn. */
static QTAILQ_HEAD(, Monitor) monitors = QTAILQ_HEAD_INITIALIZER(monitors);
static Running *running;
static QmpCommandList negotiation_commands;
QmpCommandList qmp_commands;

static size_t out_pending(const Monitor *mon)
{
    return mon->out->len - mon->out_pos;
}

/* Write what can be written now. */
static void flush_out(Monitor *mon)
{
    while (out_pending(mon)) {
        ssize_t n = qemu_chr_fe_write(&mon->fe, mon->out->str + mon->out_pos,
                                      out_pending(mon));

        if (n == -EAGAIN) {
            qemu_chr_fe_want_write(&mon->fe);
            break;
        }
        if (n < 0) {
            /* The client has gone; its end of file comes, too. */
            mon->out_pos = mon->out->len;
            break;
        }
        mon->out_pos += n;
    }
    if (!out_pending(mon)) {
        /* Do not keep the memory of one long answer. */
        g_string_free(mon->out, true);
        mon->out = g_string_new(NULL);
        mon->out_pos = 0;
    } else if (mon->out_pos > mon->out->len / 2) {
        g_string_erase(mon->out, 0, mon->out_pos);
        mon->out_pos = 0;
    }
}

static void send_json(Monitor *mon, struct json_object *json)
{
    if (!mon->connected) {
        return;
    }
    json_write(mon->out, json, mon->pretty);
    g_string_append(mon->out, "\r\n");
    flush_out(mon);
}

void monitor_broadcast_event(struct json_object *event)
{
    Monitor *mon;

    QTAILQ_FOREACH(mon, &monitors, link) {
        if (!mon->negotiated) {
            continue;
        }
        if (out_pending(mon) < QMP_OUT_EVENTS) {
            send_json(mon, event);
        } else if (!mon->told_dropped) {
            mon->told_dropped = true;
            warn_report("monitor on chardev '%s' does not read: it loses "
                        "events", qemu_chr_label(mon->fe.chr));
        }
    }
}

/* Send the answer to @request, which is freed, and take its reference. */
static void respond(Monitor *mon, struct json_object *request,
                    struct json_object *response)
{
    struct json_object *id;

    if (response) {
        if (json_object_is_type(request, json_type_object) &&
            json_object_object_get_ex(request, "id", &id)) {
            json_object_object_add(response, "id", json_object_get(id));
        }
        send_json(mon, response);
        json_object_put(response);
    }
}

static void free_request(void *opaque)
{
    Request *req = opaque;

    json_object_put(req->json);
    error_free(req->err);
    g_free(req);
}

static bool wants_oob(struct json_object *json)
{
    return json_object_is_type(json, json_type_object) &&
           json_object_object_get_ex(json, "exec-oob", NULL) &&
           !json_object_object_get_ex(json, "execute", NULL);
}

/* At once, before requests that wait. */
static void run_oob(Monitor *mon, struct json_object *json)
{
    Error *err = NULL;
    bool oob;
    const QmpCommand *cmd = qmp_dispatch_check(&qmp_commands, json, true,
                                               &oob, &err);

    respond(mon, json, cmd ? qmp_dispatch_run(cmd, json) :
                             qmp_error_response(err));
    json_object_put(json);
}

static void got_message(void *opaque, struct json_object *message,
                        Error *err)
{
    Monitor *mon = opaque;
    Request *req;

    if (!err && mon->oob && wants_oob(message)) {
        run_oob(mon, message);
        return;
    }
    req = g_new0(Request, 1);
    req->json = message;
    req->err = err;
    g_queue_push_tail(&mon->requests, req);
}

static bool may_dispatch(const Monitor *mon)
{
    return out_pending(mon) < QMP_OUT_SOFT;
}

static size_t monitor_can_read(void *opaque)
{
    Monitor *mon = opaque;
    guint max = mon->oob ? QMP_REQ_QUEUE_LEN_MAX : 1;

    return mon->connected && mon->requests.length < max &&
           may_dispatch(mon) ? 4096 : 0;
}

static void monitor_read(void *opaque, const uint8_t *buf, size_t size)
{
    Monitor *mon = opaque;

    qmp_input_feed(mon->in, (const char *)buf, size);
}

static void monitor_writable(void *opaque)
{
    Monitor *mon = opaque;

    flush_out(mon);
    qemu_chr_fe_accept_input(&mon->fe);
}

static void send_greeting(Monitor *mon)
{
    struct json_object *json = json_object_new_object();
    struct json_object *qmp = json_object_new_object();
    struct json_object *capabilities = json_object_new_array();

    json_object_array_add(capabilities, json_object_new_string("oob"));
    json_object_object_add(qmp, "version", qmp_version_json());
    json_object_object_add(qmp, "capabilities", capabilities);
    json_object_object_add(json, "QMP", qmp);
    send_json(mon, json);
    json_object_put(json);
}

/* As before the first client. */
static void end_session(Monitor *mon)
{
    mon->connected = mon->negotiated = mon->oob = false;
    mon->told_dropped = false;
    mon->session++;
    qmp_input_reset(mon->in);
    g_queue_clear_full(&mon->requests, free_request);
    g_string_truncate(mon->out, 0);
    mon->out_pos = 0;
}

static void monitor_event(void *opaque, QEMUChrEvent event)
{
    Monitor *mon = opaque;

    end_session(mon);
    if (event == CHR_EVENT_OPENED) {
        mon->connected = true;
        send_greeting(mon);
    }
}

static const CharFrontendOps monitor_ops = {
    .can_read = monitor_can_read,
    .read = monitor_read,
    .event = monitor_event,
    .writable = monitor_writable,
};

void qmp_negotiated(Monitor *mon, bool oob)
{
    mon->negotiated = true;
    mon->oob = oob;
}

Monitor *monitor_cur(void)
{
    return running ? running->mon : NULL;
}

static void finish_command(Running *run, struct json_object *response)
{
    Monitor *mon = run->mon;

    running = NULL;
    /* The monitor, or its client, may be another by now. */
    if (mon && mon->session == run->session) {
        respond(mon, run->request, response);
        qemu_chr_fe_accept_input(&mon->fe);
    } else {
        json_object_put(response);
    }
    json_object_put(run->request);
    g_free(run);
}

static void coroutine_fn run_command_co(void *opaque)
{
    Running *run = opaque;

    finish_command(run, qmp_dispatch_run(run->cmd, run->request));
    qemu_notify_event();
}

static void run_command(Monitor *mon, const QmpCommand *cmd,
                        struct json_object *request)
{
    Running *run = g_new0(Running, 1);

    run->mon = mon;
    run->session = mon->session;
    run->cmd = cmd;
    run->request = request;
    running = run;
    if (qmp_command_is_coroutine(cmd)) {
        qemu_coroutine_enter(qemu_coroutine_create(run_command_co, run));
    } else {
        finish_command(run, qmp_dispatch_run(cmd, request));
    }
}

/* Before and after qmp_capabilities the error says what is expected. */
static Error *explain_unknown(Monitor *mon, struct json_object *request,
                              Error *err)
{
    struct json_object *name;

    if (error_get_class(err) != ERROR_CLASS_COMMAND_NOT_FOUND) {
        return err;
    }
    /* "exec-oob" too: sent before the answer that allowed it. */
    if (!json_object_object_get_ex(request, "execute", &name)) {
        json_object_object_get_ex(request, "exec-oob", &name);
    }
    if (!mon->negotiated) {
        error_free(err);
        err = NULL;
        error_set(&err, ERROR_CLASS_COMMAND_NOT_FOUND, "Expecting "
                  "capabilities negotiation with 'qmp_capabilities'");
    } else if (!strcmp(json_object_get_string(name), "qmp_capabilities")) {
        error_free(err);
        err = NULL;
        error_set(&err, ERROR_CLASS_COMMAND_NOT_FOUND, "Capabilities "
                  "negotiation is already complete, command ignored");
    }
    return err;
}

static void dispatch_request(Monitor *mon, Request *req)
{
    const QmpCommand *cmd = NULL;
    struct json_object *json = g_steal_pointer(&req->json);
    Error *err = g_steal_pointer(&req->err);
    bool oob;

    if (!err) {
        cmd = qmp_dispatch_check(mon->negotiated ? &qmp_commands :
                                 &negotiation_commands, json, mon->oob,
                                 &oob, &err);
        if (!cmd) {
            err = explain_unknown(mon, json, err);
        }
    }
    if (cmd) {
        run_command(mon, cmd, json);
        return;
    }
    respond(mon, json, qmp_error_response(err));
    json_object_put(json);
    qemu_chr_fe_accept_input(&mon->fe);
}

bool monitor_dispatch(void)
{
    Monitor *mon;
    Request *req;

    if (running) {
        return false;
    }
    QTAILQ_FOREACH(mon, &monitors, link) {
        if (mon->requests.length && may_dispatch(mon)) {
            break;
        }
    }
    if (!mon) {
        return false;
    }
    QTAILQ_REMOVE(&monitors, mon, link);
    QTAILQ_INSERT_TAIL(&monitors, mon, link);
    req = g_queue_pop_head(&mon->requests);
    dispatch_request(mon, req);
    free_request(req);
    return true;
}

Monitor *monitor_new_qmp(Chardev *chr, bool pretty, Error **errp)
{
    Monitor *mon = g_new0(Monitor, 1);

    if (!qemu_chr_fe_init(&mon->fe, chr, errp)) {
        g_free(mon);
        return NULL;
    }
    mon->pretty = pretty;
    mon->in = qmp_input_new(got_message, mon);
    mon->out = g_string_new(NULL);
    g_queue_init(&mon->requests);
    QTAILQ_INSERT_TAIL(&monitors, mon, link);
    qemu_chr_fe_set_handlers(&mon->fe, &monitor_ops, mon);
    return mon;
}

bool monitor_new(const MonitorOptions *opts, Error **errp)
{
    Chardev *chr = qemu_chr_find(opts->chardev);

    if (!chr) {
        error_setg(errp, "chardev \"%s\" not found", opts->chardev);
        return false;
    }
    return monitor_new_qmp(chr, opts->has_pretty && opts->pretty, errp);
}

/* Give the client some time for what it has not read. */
static void last_flush(Monitor *mon)
{
    int ms;

    for (ms = 0; mon->connected && ms < QMP_LAST_FLUSH_MS; ms += 10) {
        flush_out(mon);
        if (!out_pending(mon)) {
            return;
        }
        g_usleep(10 * 1000);
    }
}

void monitor_delete(Monitor *mon)
{
    last_flush(mon);
    end_session(mon);
    if (running && running->mon == mon) {
        running->mon = NULL;
    }
    QTAILQ_REMOVE(&monitors, mon, link);
    qemu_chr_fe_deinit(&mon->fe);
    qmp_input_free(mon->in);
    g_string_free(mon->out, true);
    g_free(mon);
}

static void unregister_capabilities(void)
{
    /* Of the generated list: only clients that have not begun need it. */
    guint i;

    for (i = 0; i < qmp_commands.commands->len; i++) {
        if (!strcmp(qmp_command_name(g_ptr_array_index(qmp_commands.commands,
                                                       i)),
                    "qmp_capabilities")) {
            QmpCommand *cmd = g_ptr_array_steal_index(qmp_commands.commands,
                                                      i);

            g_ptr_array_add(negotiation_commands.commands, cmd);
            return;
        }
    }
}

void monitor_init_globals(void)
{
    qmp_command_list_init(&qmp_commands);
    qmp_command_list_init(&negotiation_commands);
    qmp_init_marshal(&qmp_commands);
    monitor_register_schema_command();
    unregister_capabilities();
    monitor_events_init();
}

void monitor_cleanup(void)
{
    Monitor *mon, *next;

    monitor_events_cleanup();
    QTAILQ_FOREACH_SAFE(mon, &monitors, link, next) {
        monitor_delete(mon);
    }
    qmp_command_list_destroy(&qmp_commands);
    qmp_command_list_destroy(&negotiation_commands);
}
