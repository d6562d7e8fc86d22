/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Batching: calls put off to the end of a section.
 *
 * Per thread: how deep sections are nested, and the calls of the outermost
 * one.  The calls are few (one per queue in use), so that looking for a
 * duplicate is a short scan.
 *
 * A recorded call runs with the nesting at 0, so that what it calls behaves
 * as outside of any section; a section that it opens itself runs its own
 * calls at its own end.  The outer loop takes one call off the list at a
 * time: whatever such an inner end has run already is not run again.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine-tls.h"
#include "qemu/defer-call.h"
#include "qemu/notify.h"
#include "qemu/thread.h"

typedef struct {
    void (*fn)(void *);
    void *opaque;
} DeferredCall;

/* Calls that fit without allocation; more is unusual. */
#define DEFER_CALL_INLINE 8

typedef struct {
    unsigned nesting;
    unsigned first;             /* calls[first..count) are still to run */
    unsigned count;
    unsigned size;              /* of the heap array */
    DeferredCall inline_calls[DEFER_CALL_INLINE];
    DeferredCall *heap_calls;   /* used instead once size is not 0 */
    Notifier exit_notifier;     /* frees heap_calls with the thread */
} DeferCallThreadState;

QEMU_DEFINE_STATIC_CO_TLS(DeferCallThreadState, defer_call_state)

static DeferredCall *defer_call_array(DeferCallThreadState *ts)
{
    return ts->size ? ts->heap_calls : ts->inline_calls;
}

static void defer_call_free(Notifier *notifier, void *unused)
{
    DeferCallThreadState *ts = container_of(notifier, DeferCallThreadState,
                                            exit_notifier);

    g_free(ts->heap_calls);
    ts->heap_calls = NULL;
    ts->size = 0;
}

/* Double the room; the new array, which the thread keeps. */
static DeferredCall *defer_call_grow(DeferCallThreadState *ts)
{
    unsigned size = ts->size ? ts->size * 2 : DEFER_CALL_INLINE * 2;

    ts->heap_calls = g_realloc_n(ts->heap_calls, size,
                                 sizeof(*ts->heap_calls));
    if (!ts->size) {
        memcpy(ts->heap_calls, ts->inline_calls,
               ts->count * sizeof(ts->inline_calls[0]));
        ts->exit_notifier.notify = defer_call_free;
        qemu_thread_atexit_add(&ts->exit_notifier);
    }
    ts->size = size;
    return ts->heap_calls;
}

void defer_call(void (*fn)(void *), void *opaque)
{
    DeferCallThreadState *ts = get_ptr_defer_call_state();
    DeferredCall *calls;
    unsigned i;

    if (!ts->nesting) {
        fn(opaque);
        return;
    }

    calls = defer_call_array(ts);
    for (i = ts->first; i < ts->count; i++) {
        if (calls[i].fn == fn && calls[i].opaque == opaque) {
            return;
        }
    }
    if (ts->count == (ts->size ? ts->size : DEFER_CALL_INLINE)) {
        calls = defer_call_grow(ts);
    }
    calls[ts->count++] = (DeferredCall) { .fn = fn, .opaque = opaque };
}

void defer_call_begin(void)
{
    DeferCallThreadState *ts = get_ptr_defer_call_state();

    assert(ts->nesting < UINT_MAX);
    ts->nesting++;
}

void defer_call_end(void)
{
    DeferCallThreadState *ts = get_ptr_defer_call_state();

    assert(ts->nesting > 0);
    if (--ts->nesting) {
        return;
    }

    /* The state is read anew each time: a call may add, or run, others. */
    while (ts->first < ts->count) {
        DeferredCall call = defer_call_array(ts)[ts->first++];

        call.fn(call.opaque);
    }
    ts->first = 0;
    ts->count = 0;
}

bool defer_call_flush(void)
{
    DeferCallThreadState *ts = get_ptr_defer_call_state();
    unsigned nesting = ts->nesting;

    if (ts->first == ts->count) {
        return false;
    }
    ts->nesting = 1;
    defer_call_end();
    ts->nesting = nesting;
    return true;
}
