#include "client/compare_view.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/wrap_text.h"

namespace sieve {
namespace {

using Texts = std::array<std::string, 2>;

class BlockView : public CompareView {
 public:
  BlockView(Texts titles, std::ostream* out) : titles_(std::move(titles)), out_(*out) {}

  void Append(int side, absl::string_view text) override {
    absl::StrAppend(&texts_[side], text);
    Show();
  }

  void End(int side) override {
    ended_[side] = true;
    Show();
  }

  void Finish() override {
    ended_ = {true, true};
    Show();
  }

 private:
  // Everything that may be shown by now.
  void Show() {
    while (current_ < 2) {
      if (!titled_ && (!texts_[current_].empty() || ended_[current_])) {
        out_ << "--- " << titles_[current_] << " ---\n";
        titled_ = true;
      }
      out_ << texts_[current_].substr(shown_);
      shown_ = texts_[current_].size();
      if (!ended_[current_]) break;
      if (shown_ > 0 && !absl::EndsWith(texts_[current_], "\n")) out_ << '\n';
      ++current_;
      titled_ = false;
      shown_ = 0;
    }
    out_ << std::flush;
  }

  const Texts titles_;
  std::ostream& out_;
  Texts texts_;
  std::array<bool, 2> ended_{};
  int current_ = 0;  // the side that is being shown
  bool titled_ = false;
  size_t shown_ = 0;  // bytes of it
};

class ColumnView : public CompareView {
 public:
  ColumnView(const Texts& titles, TerminalSize size, std::ostream* out)
      : width_((size.columns - kGap - 1) / 2),  // without the last column: a full line may wrap
        most_rows_(std::max(1, size.rows - 3)),
        out_(*out) {
    PrintRow({Fit(titles[0]), Fit(titles[1])});
    PrintRow({std::string(width_, '-'), std::string(width_, '-')});
    out_ << std::flush;
  }

  void Append(int side, absl::string_view text) override {
    absl::StrAppend(&texts_[side], text);
    const absl::Time now = absl::Now();
    if (now < last_drawn_ + kRedraw) return;
    last_drawn_ = now;
    Draw(most_rows_);
  }

  void End(int side) override { Draw(most_rows_); }

  void Finish() override { Draw(std::string::npos); }

 private:
  using Lines = std::vector<std::string>;
  static constexpr int kGap = 3;
  static constexpr absl::Duration kRedraw = absl::Milliseconds(30);

  // In place of what was drawn before, the last lines of each side.
  void Draw(size_t most_rows) {
    const std::array<Lines, 2> lines = {WrapText(texts_[0], width_), WrapText(texts_[1], width_)};
    const size_t rows = std::min(most_rows, std::max(lines[0].size(), lines[1].size()));
    if (drawn_ > 0) out_ << "\x1b[" << drawn_ << "A";
    out_ << "\r\x1b[J";
    for (size_t i = 0; i < rows; ++i)
      PrintRow({LineAt(lines[0], i, rows), LineAt(lines[1], i, rows)});
    out_ << std::flush;
    drawn_ = rows;
  }

  std::string LineAt(const Lines& lines, size_t row, size_t rows) const {
    if (lines.size() > rows) row += lines.size() - rows;
    return row < lines.size() ? lines[row] : std::string(width_, ' ');
  }

  std::string Fit(absl::string_view title) const {
    const Lines lines = WrapText(title, width_);
    return lines.empty() ? std::string(width_, ' ') : lines[0];
  }

  void PrintRow(const Texts& row) { out_ << row[0] << " | " << row[1] << '\n'; }

  const int width_;  // of a side
  const size_t most_rows_;
  std::ostream& out_;
  Texts texts_;
  size_t drawn_ = 0;  // rows that are to be drawn anew
  absl::Time last_drawn_ = absl::InfinitePast();
};

}  // namespace

std::unique_ptr<CompareView> MakeBlockView(Texts titles, std::ostream* out) {
  return std::make_unique<BlockView>(std::move(titles), out);
}

std::unique_ptr<CompareView> MakeColumnView(Texts titles, TerminalSize size, std::ostream* out) {
  return std::make_unique<ColumnView>(titles, size, out);
}

}  // namespace sieve
