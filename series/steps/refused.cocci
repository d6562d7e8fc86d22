// SPDX-License-Identifier: GPL-2.0-or-later
//
// ioq_submit() goes on after a request that the kernel refuses.  The refused
// one completes in a bottom half, so that no coroutine runs in the loop.

@ loop @
typedef LinuxAioState;
identifier s, ret, len;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-ret == len && !QSIMPLEQ_EMPTY(&s->io_q.pending)
+ret != 0 && !QSIMPLEQ_EMPTY(&s->io_q.pending)
 ...>
 }

@ refused depends on loop @
typedef intptr_t, AioContext;
identifier s, req, ret;
@@
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
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-req->ret = ret;
-qemu_laio_process_completion(req);
+laio_refuse(req, ret);
 ...>
 }
