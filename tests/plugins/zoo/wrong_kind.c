/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The note says quantizer, the descriptor scorer. */
#define ZOO_NOTE_KIND CWP_KIND_QUANTIZER
#include "tests/plugins/zoo/zoo.h"
