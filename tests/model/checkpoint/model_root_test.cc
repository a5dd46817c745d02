#include "model/checkpoint/model_root.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/test_files.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class ModelRootTest : public testing::Test {
 protected:
  ModelRootTest() {
    Touch(root_ / "model.gguf");
    Touch(root_ / "hf/config.json");
    Touch(root_ / "hf/model.safetensors");
    Touch(root_ / "hf/original/tokenizer.model");
    Touch(outside_ / "secret");
    Touch(outside_ / "folder/secret");
  }

  static void Touch(const fs::path& path) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "x";
  }
  absl::Status Check(const fs::path& path) const {
    return CheckInsideModelRoot(root_.string(), path.string());
  }
  void ExpectOutside(const fs::path& path, const std::string& where) const {
    const absl::Status status = Check(path);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << path << ": " << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(where), HasSubstr(root_.string())));
  }

  const fs::path base_ = fs::canonical(TestFolder());
  const fs::path root_ = base_ / "models";
  const fs::path outside_ = base_ / "models-not";  // begins like the root
};

TEST_F(ModelRootTest, WhatLiesInIt) {
  EXPECT_TRUE(Check(root_ / "model.gguf").ok());
  EXPECT_TRUE(Check(root_ / "hf").ok());
  EXPECT_TRUE(Check(root_ / "hf/").ok());
  EXPECT_TRUE(Check(root_ / "hf/model.safetensors").ok());
  EXPECT_TRUE(Check(root_).ok());
  EXPECT_TRUE(Check(root_ / "hf/../model.gguf").ok());
  EXPECT_TRUE(CheckInsideModelRoot(root_.string() + "/", (root_ / "model.gguf").string()).ok());
  EXPECT_TRUE(CheckInsideModelRoot("/", (root_ / "model.gguf").string()).ok());
}

TEST_F(ModelRootTest, WhatLiesOutside) {
  ExpectOutside(outside_ / "secret", "secret");
  ExpectOutside(outside_, "models-not");
  ExpectOutside(base_, base_.string());
  ExpectOutside("/etc/passwd", "/etc/passwd");
  ExpectOutside(root_ / "../models-not/secret", "leads to");
}

TEST_F(ModelRootTest, LinksWithinTheRootMayBeFollowed) {
  Touch(root_ / "blobs/a");
  fs::create_directory(root_ / "snapshot");
  fs::create_symlink("../blobs/a", root_ / "snapshot/model.safetensors");
  fs::create_symlink(root_ / "hf", root_ / "latest");
  EXPECT_TRUE(Check(root_ / "snapshot").ok());
  EXPECT_TRUE(Check(root_ / "latest").ok());
  fs::create_symlink(root_, base_ / "alias");
  EXPECT_TRUE(CheckInsideModelRoot((base_ / "alias").string(), (root_ / "hf").string()).ok());
  EXPECT_TRUE(Check(base_ / "alias/hf").ok());
}

TEST_F(ModelRootTest, LinksOutOfTheRootAreRefused) {
  fs::create_symlink(outside_ / "secret", root_ / "link.gguf");
  ExpectOutside(root_ / "link.gguf", (outside_ / "secret").string());
  fs::create_symlink(outside_ / "folder", root_ / "link");
  ExpectOutside(root_ / "link", (outside_ / "folder").string());
}

TEST_F(ModelRootTest, EveryFileOfAFolderCounts) {
  for (const char* name : {"hf/tokenizer.json", "hf/model-00001-of-00002.safetensors",
                           "hf/original/params.json", "hf/more"}) {
    const bool folder = std::string(name) == "hf/more";
    fs::create_symlink(outside_ / (folder ? "folder" : "secret"), root_ / name);
    ExpectOutside(root_ / "hf", name);
    ExpectOutside(root_ / "hf/model.safetensors", name);
    fs::remove(root_ / name);
  }
  // By way of a folder that is inside itself.
  Touch(root_ / "shared/a");
  fs::create_symlink(outside_ / "secret", root_ / "shared/tokenizer.model");
  fs::remove_all(root_ / "hf/original");
  fs::create_symlink(root_ / "shared", root_ / "hf/original");
  ExpectOutside(root_ / "hf", "hf/original/tokenizer.model");
}

TEST_F(ModelRootTest, PathsThatLeadNowhere) {
  EXPECT_EQ(Check(root_ / "no.gguf").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CheckInsideModelRoot("/no/such/root", "/etc").code(), absl::StatusCode::kNotFound);
  fs::create_symlink("nowhere", root_ / "hf/dangling");
  EXPECT_EQ(Check(root_ / "hf").code(), absl::StatusCode::kNotFound);
  fs::create_symlink("loop", root_ / "loop");
  EXPECT_FALSE(Check(root_ / "loop").ok());
}

}  // namespace
}  // namespace sieve
