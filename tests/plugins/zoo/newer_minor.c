/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Made with newer headers. */
#define ZOO_NOTE_MINOR (CWP_ABI_MINOR + 1)
#include "tests/plugins/zoo/zoo.h"
