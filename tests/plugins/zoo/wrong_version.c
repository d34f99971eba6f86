/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The descriptor says another ABI than the note. */
#define ZOO_MAJOR (CWP_ABI_MAJOR + 6)
#include "tests/plugins/zoo/zoo.h"
