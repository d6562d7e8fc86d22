/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Coccinelle is to take macros for: the stand-in for QEMU's
 * scripts/cocci-macro-file.h in the trees that apply-test.sh makes.
 */
#define coroutine_fn
#define QEMU_UNINITIALIZED
#define QSIMPLEQ_HEAD(name, type) struct name { int q; }
#define QSIMPLEQ_ENTRY(type) struct { int q; }
