// SPDX-License-Identifier: GPL-2.0-or-later
//
// The array for io_submit(2) moves to the LinuxAioState.

@ array @
typedef LinuxAioState;
identifier s, iocbs;
expression max;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-struct iocb *iocbs[max];
 ...>
 }

@ use depends on array @
identifier s, array.iocbs;
@@
 static void ioq_submit(LinuxAioState *s)
 {
 <...
-iocbs
+s->iocbs
 ...>
 }

@ member depends on array @
expression array.max;
typedef QEMUBH;
identifier bh;
@@
 struct LinuxAioState {
 ...
 QEMUBH *bh;
+/* For io_submit(2): no callback runs while it is in use. */
+struct iocb *iocbs[max];
 ...
 };
