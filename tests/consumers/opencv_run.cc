// Runs a network in OpenCV's dnn module: opencv_run MODEL.onnx INPUT.npy OUTPUT.npy
// Arrays are float32, C order, four axes in and two out. Images go in one by one: OpenCV 4.6 takes
// a dynamic batch axis as 1.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/dnn.hpp>

namespace {

cv::Mat ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.size() < 10 || bytes.compare(1, 5, "NUMPY") != 0 || bytes[6] != 1) {
    throw std::runtime_error(path + ": not a version 1 .npy file");
  }
  const size_t length = static_cast<uint8_t>(bytes[8]) | static_cast<uint8_t>(bytes[9]) << 8;
  const std::string header = bytes.substr(10, length);
  std::smatch match;
  const std::regex shape_of(R"('shape': \((\d+), (\d+), (\d+), (\d+)\))");
  if (header.find("'<f4'") == std::string::npos || !std::regex_search(header, match, shape_of)) {
    throw std::runtime_error(path + ": expected a float32 array of four axes, found " + header);
  }
  std::vector<int> shape;
  size_t count = 1;
  for (int i = 1; i <= 4; ++i) {
    shape.push_back(std::stoi(match[i]));
    count *= static_cast<size_t>(shape.back());
  }
  if (bytes.size() != 10 + length + count * sizeof(float)) {
    throw std::runtime_error(path + ": size does not fit its shape");
  }
  cv::Mat mat(shape, CV_32F);
  std::memcpy(mat.ptr<float>(), bytes.data() + 10 + length, count * sizeof(float));
  return mat;
}

void WriteNpy(const std::string& path, const cv::Mat& mat) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(mat.size[0]) + ", " + std::to_string(mat.size[1]) + "), }";
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  const char size[2] = {static_cast<char>(header.size() & 0xff),
                        static_cast<char>(header.size() >> 8)};
  file.write("\x93NUMPY\x01\x00", 8).write(size, 2) << header;
  file.write(reinterpret_cast<const char*>(mat.ptr<float>()),
             static_cast<std::streamsize>(mat.total() * sizeof(float)));
  if (!file.flush()) throw std::runtime_error(path + ": cannot write");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: opencv_run MODEL.onnx INPUT.npy OUTPUT.npy\n");
    return 2;
  }
  try {
    cv::dnn::Net net = cv::dnn::readNetFromONNX(argv[1]);
    const cv::Mat images = ReadNpy(argv[2]);
    cv::Mat logits;
    for (int i = 0; i < images.size[0]; ++i) {
      const int shape[4] = {1, images.size[1], images.size[2], images.size[3]};
      // A view: OpenCV copies it into its own blob.
      net.setInput(cv::Mat(4, shape, CV_32F, const_cast<float*>(images.ptr<float>(i))));
      logits.push_back(net.forward().clone());
    }
    WriteNpy(argv[3], logits);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "opencv_run: %s\n", error.what());
    return 1;
  }
  return 0;
}
