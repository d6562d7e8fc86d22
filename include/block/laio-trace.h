/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events of the Linux AIO engine.
 */
#ifndef BLOCK_LAIO_TRACE_H
#define BLOCK_LAIO_TRACE_H

/*
 * Observe the engine if one of its laio_* trace events is on.  After the
 * trace options are parsed, before any engine is used.
 */
void laio_trace_init(void);

#endif
