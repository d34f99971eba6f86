/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An ABI that this host does not have. */
#define ZOO_NOTE_MAJOR (CWP_ABI_MAJOR + 1)
#define ZOO_MAJOR (CWP_ABI_MAJOR + 1)
#include "tests/plugins/zoo/zoo.h"
