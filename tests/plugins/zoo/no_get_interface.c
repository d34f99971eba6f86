/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A descriptor without get_interface. */
#define ZOO_GET_INTERFACE NULL
#include "tests/plugins/zoo/zoo.h"
