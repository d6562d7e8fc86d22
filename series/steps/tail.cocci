// SPDX-License-Identifier: GPL-2.0-or-later
//
// A request that is on the list, the first time or with its tail, is in
// progress: laio_co_submit() waits for it.

@@
expression s, req;
identifier next;
@@
+req->ret = -EINPROGRESS;
 QSIMPLEQ_INSERT_TAIL(&s->io_q.pending, req, next);
