// SPDX-License-Identifier: GPL-2.0-or-later
//
// A timer comes back to requests that are pending while none is in flight.

@ fields @
typedef QEMUBH, QEMUTimer;
identifier bh;
@@
 struct LinuxAioState {
 ...
 QEMUBH *bh;
+QEMUTimer *retry_timer;
 ...
 };

@ header depends on fields @
@@
 #include "block/raw-aio.h"
+#include "qemu/timer.h"

@ retry depends on header @
typedef LinuxAioState, AioContext;
identifier s;
@@
+/* ns until -EAGAIN is tried again if nothing in flight will tell. */
+#define LAIO_RETRY_NS 1000000
+
+/* The timer itself belongs to laio_set_retry(). */
+static void laio_retry(void *opaque)
+{
+    LinuxAioState *s = opaque;
+
+    qemu_bh_schedule(s->completion_bh);
+}
+
+/* Arm the timer if nothing else will come back to what is pending. */
+static void laio_set_retry(LinuxAioState *s)
+{
+    AioContext *ctx = qemu_get_current_aio_context();
+    QEMUTimer *t = NULL;
+
+    timer_free(s->retry_timer);
+    if (s->io_q.in_queue && !s->io_q.in_flight) {
+        t = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, laio_retry, s);
+        timer_mod(t, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + LAIO_RETRY_NS);
+    }
+    s->retry_timer = t;
+}
+
 static void ioq_submit(LinuxAioState *s)
 {
 <...
 s->io_q.blocked = (s->io_q.in_queue > 0);
+laio_set_retry(s);
 ...>
 }
