/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In place of the engine's header: what takes long to come about comes soon, so
 * that short schedules have it, too.
 */
#include "../../../../block/linux-aio.h"

#undef LAIO_QUIET_CALLS
#define LAIO_QUIET_CALLS 2
#undef LAIO_QUIET_MAX
#define LAIO_QUIET_MAX 8
