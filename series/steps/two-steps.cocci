// SPDX-License-Identifier: GPL-2.0-or-later
//
// For trees that have the released bound: it bounds the reaping alone.  At
// the bound ioq_submit() submits all the same.

@ early @
typedef LinuxAioState;
identifier s;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-if (s->io_q.submit_depth >= IOQ_SUBMIT_MAX_DEPTH) {
-    qemu_bh_schedule(s->completion_bh);
-    return;
-}
 ...>
 }

@ up depends on early @
identifier s;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-s->io_q.submit_depth++;
 ...>
 }

@ down depends on up @
identifier s;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-s->io_q.submit_depth--;
 ...>
 }

@ reap depends on down @
identifier s;
@@
+/* Reap, not too deeply nested; the bottom half comes back to the rest. */
+static void laio_after_submit(LinuxAioState *s)
+{
+    if (!s->io_q.in_flight) {
+        return;
+    }
+    if (s->io_q.submit_depth == IOQ_SUBMIT_MAX_DEPTH) {
+        qemu_bh_schedule(s->completion_bh);
+        return;
+    }
+    s->io_q.submit_depth++;
+    qemu_laio_process_completions(s);
+    s->io_q.submit_depth--;
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
-    if (s->io_q.in_queue && !s->io_q.in_flight) {
-        qemu_bh_schedule(s->completion_bh);
-    }
-}
+laio_after_submit(s);
 ...>
 }
