/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An interface without its main function. */
#define ZOO_SCORE NULL
#include "tests/plugins/zoo/zoo.h"
