/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* No ABI note. */
#define ZOO_WITHOUT_NOTE
#include "tests/plugins/zoo/zoo.h"
