/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Incomplete types that many headers name and few need in full.
 */
#ifndef QEMU_TYPEDEFS_H
#define QEMU_TYPEDEFS_H

typedef struct AioContext AioContext;
typedef struct BdrvChild BdrvChild;
typedef struct BlockAIOCB BlockAIOCB;
typedef struct BlockBackend BlockBackend;
typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;
typedef struct CoMutex CoMutex;
typedef struct CoQueue CoQueue;
typedef struct Coroutine Coroutine;
typedef struct Error Error;
typedef struct EventNotifier EventNotifier;
typedef struct IOThread IOThread;
typedef struct LinuxAioState LinuxAioState;
typedef struct LuringState LuringState;
typedef struct Notifier Notifier;
typedef struct QEMUBH QEMUBH;
typedef struct QEMUIOVector QEMUIOVector;
typedef struct QEMUTimer QEMUTimer;
typedef struct ThreadPoolAio ThreadPoolAio;
/* The option dictionary: a flat JSON object with dotted keys. */
typedef struct json_object QOpts;

#endif
