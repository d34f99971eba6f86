/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A descriptor without a licence. */
#define ZOO_LICENCE NULL
#include "tests/plugins/zoo/zoo.h"
