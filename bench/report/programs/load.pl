# What the real-programs group runs in perl: hashes of lists, strings built and split, sorting; argument: how much.
use strict;
use warnings;

my $turns = shift;
my $state = 1;
sub draw { $state = ($state * 1103515245 + 12345) % 2147483648; return $state % $_[0] }

my $checksum = 0;
for my $turn (1 .. $turns) {
    my %index;
    for my $n (1 .. 4000) {
        my $line = join ' ', map { 'word' . draw(3000) } 1 .. 4 + draw(12);
        push @{ $index{$_} }, $n for split / /, $line;
    }
    my @ranked = sort { @{ $index{$b} } <=> @{ $index{$a} } || $a cmp $b } keys %index;
    my $text = '';
    $text .= "$_: " . join(',', @{ $index{$_} }) . "\n" for @ranked;
    $checksum += length $text;
}
print "$checksum\n";
