/* ouro/version.h: the version of these headers. */
#ifndef OURO_VERSION_H
#define OURO_VERSION_H

#define OURO_VERSION_MAJOR 0
#define OURO_VERSION_MINOR 1
#define OURO_VERSION_PATCH 0
#define OURO_VERSION_STRING "0.1.0"

#endif
