/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: its own trace events. */
#ifndef SERIES_TRACE_BLOCK_H
#define SERIES_TRACE_BLOCK_H

static inline void trace_laio_init(void *s)
{
}

static inline void trace_laio_submit(void *s, unsigned nr, int ret,
                                     unsigned depth)
{
}

static inline void trace_laio_request(void *s, void *req, int type,
                                      const char *state, int64_t ret)
{
}

static inline void trace_laio_reap(void *s, unsigned events)
{
}

static inline void trace_laio_yield(void *s, unsigned pending, bool time_over)
{
}

static inline void trace_laio_retry(void *s, int64_t delay_ns)
{
}

#endif
