// SPDX-License-Identifier: GPL-2.0-or-later
//
// For trees that have the released bound: what it leaves pending is not left
// to a signal that somebody else may send.

@ bound @
typedef LinuxAioState;
identifier s;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
 if (s->io_q.submit_depth >= IOQ_SUBMIT_MAX_DEPTH) {
+    qemu_bh_schedule(s->completion_bh);
     return;
 }
 ...>
 }

@ reap depends on bound @
identifier s;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
 if (s->io_q.in_flight) {
     qemu_laio_process_completions(s);
+    if (s->io_q.in_queue && !s->io_q.in_flight) {
+        qemu_bh_schedule(s->completion_bh);
+    }
 }
 ...>
 }
