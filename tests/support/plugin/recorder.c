// Stands in for NVIDIA's driver: says every call and its thread on stdout, and runs nothing.
//
// An image is a text: the kernel's name, its entry, and of each argument `p` for a pointer,
// `i` for an integer or `f` for a number, as in "LoRAMoEConv.fp16 entry ppif".
#define _GNU_SOURCE
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char name[128], entry[64], arguments[64];
} Image;

static void say(char const* call) {
    char line[1100];
    int const length = snprintf(line, sizeof line, "%d %s", gettid(), call);
    if (write(1, line, length) < 0)
        abort();
}

CUresult cuGetErrorName(CUresult error, char const** name) {
    *name = error == CUDA_ERROR_INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : "CUDA_ERROR_UNKNOWN";
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
    say("cuCtxGetDevice\n");
    *device = 0;
    return getenv("NO_CONTEXT") ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    (void) device;
    say("cuDeviceGetAttribute\n");
    char const* sm = getenv("SM");
    int const capability = sm ? atoi(sm) : 89;
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability / 10 : capability % 10;
    return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary* library, void const* code, CUjit_option* o, void** v, unsigned n,
    CUlibraryOption* lo, void** lv, unsigned ln) {
    (void) o, (void) v, (void) n, (void) lo, (void) lv, (void) ln;
    static Image images[256];
    static int count;
    Image* image = &images[count++];
    if (sscanf(code, "%127s %63s %63s", image->name, image->entry, image->arguments) != 3)
        return CUDA_ERROR_INVALID_IMAGE;
    char line[256];
    snprintf(line, sizeof line, "cuLibraryLoadData %s\n", (char const*) code);
    say(line);
    *library = (CUlibrary) image;
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, char const* entry) {
    say("cuLibraryGetKernel\n");
    *kernel = (CUkernel) library;
    return strcmp(((Image*) library)->entry, entry) ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
    say("cuKernelGetFunction\n");
    *function = (CUfunction) kernel;
    return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction function) {
    char line[256];
    snprintf(line, sizeof line, "cuFuncLoad %s\n", ((Image*) function)->name);
    say(line);
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    char line[256];
    snprintf(line, sizeof line, "cuFuncSetAttribute %s %d %d\n", ((Image*) function)->name, attribute, value);
    say(line);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
    unsigned bz, unsigned shared, CUstream stream, void** arguments, void** extra) {
    (void) extra;
    Image const* image = (Image*) function;
    char line[1024];
    int length = snprintf(line, sizeof line, "cuLaunchKernel %s %u,%u,%u %u,%u,%u %u %llu", image->name, gx, gy, gz,
        bx, by, bz, shared, (unsigned long long) stream);
    for (int i = 0; image->arguments[i]; ++i) {
        char* place = line + length;
        size_t const room = sizeof line - length;
        switch (image->arguments[i]) {
        case 'p': length += snprintf(place, room, " %llu", *(unsigned long long*) arguments[i]); break;
        case 'i': length += snprintf(place, room, " %d", *(int*) arguments[i]); break;
        default: length += snprintf(place, room, " %.9g", *(float*) arguments[i]);
        }
    }
    snprintf(line + length, sizeof line - length, "\n");
    say(line);
    return CUDA_SUCCESS;
}
