/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events of the Linux AIO engine, from its observer: the engine itself
 * does not know of tracing, and pays nothing while no event is on.
 */
#include "qemu/osdep.h"
#include "block/laio-trace.h"
#include "block/linux-aio.h"
#include "qemu/trace.h"
#include "trace/trace-block.h"

static const char *const laio_state_names[] = {
    [LAIO_PENDING] = "pending",
    [LAIO_IN_FLIGHT] = "in-flight",
    [LAIO_REJECTED] = "rejected",
    [LAIO_DONE] = "done",
};

static void trace_submit(LinuxAioState *s, int nr, int ret, unsigned depth)
{
    trace_laio_submit(s, nr, ret, depth);
}

static void trace_request(LinuxAioState *s, const void *req, int type,
                          LaioState state, ssize_t ret)
{
    trace_laio_request(s, (void *)req, type, laio_state_names[state], ret);
}

static void trace_reap(LinuxAioState *s, unsigned events)
{
    trace_laio_reap(s, events);
}

static void trace_retry(LinuxAioState *s, int64_t delay_ns)
{
    trace_laio_retry(s, delay_ns);
}

static const LaioObserver trace_observer = {
    .submit = trace_submit,
    .request = trace_request,
    .reap = trace_reap,
    .retry = trace_retry,
};

void laio_trace_init(void)
{
    if (trace_event_get_state(TRACE_LAIO_SUBMIT) ||
        trace_event_get_state(TRACE_LAIO_REQUEST) ||
        trace_event_get_state(TRACE_LAIO_REAP) ||
        trace_event_get_state(TRACE_LAIO_RETRY)) {
        laio_observer = &trace_observer;
    }
}
