// SPDX-License-Identifier: GPL-2.0-or-later
//
// For trees without the released bound: ioq_submit() always submits; it reaps
// inline only while not too many calls further up the stack do so.

@ member @
typedef QEMUBH;
identifier bh;
@@
 struct LinuxAioState {
 ...
 QEMUBH *bh;
+/* Active ioq_submit() calls that reap. */
+unsigned int submit_depth;
 ...
 };

@ bound depends on member @
typedef LinuxAioState;
identifier s;
@@
+/* How many ioq_submit() calls may reap, one within the other. */
+#define IOQ_SUBMIT_MAX_DEPTH 8
+
+/* Reap, not too deeply nested; the bottom half comes back to the rest. */
+static void laio_after_submit(LinuxAioState *s)
+{
+    if (!s->io_q.in_flight) {
+        return;
+    }
+    if (s->submit_depth == IOQ_SUBMIT_MAX_DEPTH) {
+        qemu_bh_schedule(s->completion_bh);
+        return;
+    }
+    s->submit_depth++;
+    qemu_laio_process_completions(s);
+    s->submit_depth--;
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
