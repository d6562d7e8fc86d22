// SPDX-License-Identifier: GPL-2.0-or-later
//
// Neither recursion nor hang in block/linux-aio.c of QEMU 8.2 to 10.1: the
// small form of the series, which "scripts/apply-to-qemu --minimal" applies.
//
//   spatch --sp-file series/minimal.cocci --in-place block/linux-aio.c \
//          --macro-file scripts/cocci-macro-file.h
//
// ioq_submit() gives all that is pending to the kernel, always, and goes on
// after a request that the kernel refuses; the refused one completes in a
// bottom half of its own, so that no coroutine runs in the submission loop.
// Then laio_after_submit() reaps inline unless an ioq_submit() further up the
// stack does so already, and leaves something that comes back to whatever
// is still pending.

@ fields @
typedef QEMUBH, QEMUTimer;
identifier bh;
@@
 struct LinuxAioState {
 ...
 QEMUBH *bh;
+QEMUTimer *retry_timer;
+unsigned int inline_depth;
 ...
 };

@ header depends on fields @
@@
 #include "block/raw-aio.h"
+#include "qemu/timer.h"

@ loop depends on fields @
typedef LinuxAioState;
identifier s, ret, len;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-ret == len && !QSIMPLEQ_EMPTY(&s->io_q.pending)
+!QSIMPLEQ_EMPTY(&s->io_q.pending)
 ...>
 }

@ refused depends on loop @
identifier s, req, ret;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-req->ret = ret;
-qemu_laio_process_completion(req);
+laio_refuse(req, ret);
 ...>
 }

@ reap depends on refused @
typedef intptr_t, AioContext;
identifier s;
@@
+/* How many ioq_submit() calls of a thread may reap, one within the other. */
+#define LAIO_INLINE_DEPTH_MAX 1
+/* ns until -EAGAIN is tried again if nothing in flight will tell. */
+#define LAIO_RETRY 1000000
+
+/* The coroutine of a refused request goes on. */
+static void laio_refused_bh(void *opaque)
+{
+    struct qemu_laiocb *req = opaque;
+
+    req->ret = (intptr_t)req->iocb.data;
+    qemu_laio_process_completion(req);
+}
+
+/* Later, since it may queue its next request at once. */
+static void laio_refuse(struct qemu_laiocb *req, int ret)
+{
+    AioContext *ctx = qemu_get_current_aio_context();
+
+    req->iocb.data = (void *)(intptr_t)ret;
+    aio_bh_schedule_oneshot(ctx, laio_refused_bh, req);
+}
+
+/* The timer itself belongs to laio_set_retry(). */
+static void laio_retry(void *opaque)
+{
+    LinuxAioState *s = opaque;
+
+    qemu_bh_schedule(s->completion_bh);
+}
+
+/* @needed: requests are pending and none is in flight. */
+static void laio_set_retry(LinuxAioState *s, bool needed)
+{
+    AioContext *ctx = qemu_get_current_aio_context();
+    QEMUTimer *t = NULL;
+
+    timer_free(s->retry_timer);
+    if (needed) {
+        t = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, laio_retry, s);
+        timer_mod(t, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + LAIO_RETRY);
+    }
+    s->retry_timer = t;
+}
+
+/* Reap, without nesting; what is pending has somebody to come back to it. */
+static void laio_after_submit(LinuxAioState *s)
+{
+    laio_set_retry(s, s->io_q.in_queue && !s->io_q.in_flight);
+    if (!s->io_q.in_flight) {
+        return;
+    }
+    if (s->inline_depth == LAIO_INLINE_DEPTH_MAX) {
+        qemu_bh_schedule(s->completion_bh);
+        return;
+    }
+    s->inline_depth++;
+    qemu_laio_process_completions(s);
+    s->inline_depth--;
+    if (s->io_q.in_queue && !s->io_q.in_flight) {
+        qemu_bh_schedule(s->completion_bh);
+    }
+}
+
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-if (s->io_q.in_flight) {
-    qemu_laio_process_completions(s);
-}
+laio_after_submit(s);
 ...>
 }
