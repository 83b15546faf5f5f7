// As much of libnvinfer as TensorRT's Python bindings import, with a registry that loads
// libraries of plugins as TensorRT's does.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <map>
#include <string>
#include <tuple>

using namespace nvinfer1;

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace {

using Name = AsciiChar const*;

struct Registry final : IPluginRegistry {
    std::map<std::tuple<std::string, std::string, std::string>, IPluginCreatorInterface*> creators;

    PluginLibraryHandle loadLibrary(Name path) noexcept override {
        void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr)
            return nullptr;
        reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"))(nullptr);
        using Get = IPluginCreatorInterface* const* (*) (int32_t&);
        int32_t count = 0;
        auto* found = reinterpret_cast<Get>(dlsym(library, "getCreators"))(count);
        for (int32_t i = 0; i < count; ++i)
            registerCreator(*found[i], "");
        return count > 0 ? library : nullptr;
    }
    bool registerCreator(IPluginCreatorInterface& creator, Name) noexcept override {
        auto& one = static_cast<IPluginCreatorV3One&>(creator);
        creators[{one.getPluginName(), one.getPluginVersion(), one.getPluginNamespace()}] = &creator;
        return true;
    }
    IPluginCreatorInterface* getCreator(Name name, Name version, Name space) noexcept override {
        auto found = creators.find({name, version, space});
        return found != creators.end() ? found->second : nullptr;
    }
    bool registerCreator(IPluginCreator&, Name) noexcept override { return false; }
    IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override { return nullptr; }
    IPluginCreator* getPluginCreator(Name, Name, Name) noexcept override { return nullptr; }
    void setErrorRecorder(IErrorRecorder*) noexcept override {}
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool deregisterCreator(IPluginCreator const&) noexcept override { return false; }
    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override { return false; }
    bool isParentSearchEnabled() const override { return false; }
    void setParentSearchEnabled(bool) override {}
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
    IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t*) noexcept override { return nullptr; }
    IPluginResource* acquirePluginResource(Name, IPluginResource*) noexcept override { return nullptr; }
    int32_t releasePluginResource(Name) noexcept override { return 0; }
};

} // namespace

extern "C" IPluginRegistry* getPluginRegistry() noexcept {
    static Registry registry;
    return &registry;
}

// The rest is never called. The headers declare these names with types, so they are made here
// under others.
#define ABSENT(number, name) \
    extern "C" void* absent##number() __asm__(name); \
    extern "C" void* absent##number() \
    { \
        return nullptr; \
    }

ABSENT(1, "createInferBuilder_INTERNAL")
ABSENT(2, "createInferRefitter_INTERNAL")
ABSENT(3, "createInferRuntime_INTERNAL")
ABSENT(4, "createNvOnnxParserRefitter_INTERNAL")
ABSENT(5, "createNvOnnxParser_INTERNAL")
ABSENT(6, "getBuilderPluginRegistry")
ABSENT(7, "getNvOnnxParserVersion")
ABSENT(8, "initLibNvInferPlugins")
