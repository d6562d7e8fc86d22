// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whether the kernel has IOCB_CMD_FDSYNC is asked with an unnamed file.

@ probe @
typedef bool;
identifier fd;
@@
-bool laio_has_fdsync(int fd)
+static bool laio_probe_fdsync(int fd)
 {
 ...
 }
+
+/*
+ * Not asked with @fd: a first fsync of an image's descriptor takes the
+ * write-back error that its first flush must fail with.
+ */
+bool laio_has_fdsync(int fd)
+{
+    int unnamed = memfd_create("laio-fdsync", MFD_CLOEXEC);
+    bool has = unnamed >= 0 && laio_probe_fdsync(unnamed);
+
+    if (unnamed >= 0) {
+        close(unnamed);
+    }
+    return has;
+}

@ header depends on probe @
@@
 #include <libaio.h>
+#include <sys/mman.h>
