/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: nothing so far. */
#ifndef SERIES_SYSTEM_BLOCK_BACKEND_H
#define SERIES_SYSTEM_BLOCK_BACKEND_H

#include "block/block.h"

#endif
