/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In place of the generated header of this name: the trace events of the Linux
 * AIO engine become calls of the test that is built with it.  Each hook is
 * optional; it runs in the engine's home thread and must not call the engine.
 */
#ifndef LAIO_HOOKS_H
#define LAIO_HOOKS_H

#include "block/linux-aio.h"

typedef struct LaioHooks {
    void (*submit)(void *s, unsigned nr, int ret, unsigned depth);
    void (*request)(void *s, const void *req, int type, const char *state,
                    ssize_t ret);
    void (*reap)(void *s, unsigned events);
    void (*yield)(void *s, unsigned pending, bool time_over);
    void (*retry)(void *s, int64_t delay_ns);
} LaioHooks;

/* Defined by the test. */
extern LaioHooks laio_hooks;

static inline void trace_laio_init(void *s)
{
}

static inline void trace_laio_submit(void *s, unsigned nr, int ret,
                                     unsigned depth)
{
    if (laio_hooks.submit) {
        laio_hooks.submit(s, nr, ret, depth);
    }
}

static inline void trace_laio_request(void *s, const void *req, int type,
                                      const char *state, ssize_t ret)
{
    if (laio_hooks.request) {
        laio_hooks.request(s, req, type, state, ret);
    }
}

static inline void trace_laio_reap(void *s, unsigned events)
{
    if (laio_hooks.reap) {
        laio_hooks.reap(s, events);
    }
}

static inline void trace_laio_yield(void *s, unsigned pending, bool time_over)
{
    if (laio_hooks.yield) {
        laio_hooks.yield(s, pending, time_over);
    }
}

static inline void trace_laio_retry(void *s, int64_t delay_ns)
{
    if (laio_hooks.retry) {
        laio_hooks.retry(s, delay_ns);
    }
}

#endif
