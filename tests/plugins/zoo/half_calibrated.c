/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A quantizer that makes states and does not free them. */
#define MOCK_ID "zoo"
#define MOCK_RELEASE NULL
#include "tests/plugins/zoo/mock_quantizer.c"
