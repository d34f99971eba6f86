/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Knows another interface than this host. */
#define ZOO_INTERFACE "cwp.scorer/99"
#include "tests/plugins/zoo/zoo.h"
