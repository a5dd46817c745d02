#ifndef SIEVE_TRAINER_REPORT_AXIS_H_
#define SIEVE_TRAINER_REPORT_AXIS_H_

#include <string>
#include <vector>

namespace sieve {

struct AxisOptions {
  std::string label = {};
  bool log = false;                     // values that are not positive have no place on it
  std::vector<std::string> names = {};  // of the values 0, 1, …; empty: a scale of numbers
  double room = 0.04;                   // beside the values, of their range
};

struct Tick {
  double value = 0;
  std::string text;
};

// Maps values to places along a side of a picture.
class Axis {
 public:
  // The scale holds every one of the `values` that has a place, or any range where there are none.
  // It runs from place `from` to place `to`.
  Axis(const AxisOptions& options, const std::vector<double>& values, double from, double to);

  // Whether a value has a place: finite, and positive where the scale is logarithmic.
  bool Has(double value) const;
  // REQUIRES: Has(value).
  double At(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  double Scaled(double value) const;
  void SetRange(const std::vector<double>& values);
  void SetTicks();

  AxisOptions options_;
  double from_, to_;
  double low_ = 0, high_ = 1;  // scaled
  std::vector<Tick> ticks_;
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_AXIS_H_
