# Loaded before Cassandane (perl -M), changes who the mupdate master is in its murders. RAVENRY_WAY says how:
#
#   as-it-is   nothing is changed: the frontend is the mupdate master too, and its own list is the master's
#   apart      the master is an instance of its own, and the frontend its slave, as in a murder of hosts
#   ravenry    the same, with Ravenry where frontend and backends look for the master
package RavenryMurder;
use strict;
use warnings;

use lib '.';
use Cassandane::Util::Log;
use Cassandane::Cyrus::TestCase;
use Time::HiRes qw(sleep time);

my $way = $ENV{RAVENRY_WAY} // 'as-it-is';
my $binary = $ENV{RAVENRY_BIN} // '/ravenry';

# How long Ravenry may take to learn a list that is nearly empty, and to end.
my $patience = 20;

my $here = 'Cassandane::Cyrus::TestCase';
wrap(_create_instances => \&take_the_master_out);
wrap(_start_instances => \&start_the_master_first);
wrap(tear_down => \&stop_the_master_last);

sub wrap
{
    my ($name, $around) = @_;

    return if $way eq 'as-it-is';
    die "RAVENRY_WAY is '$way', not as-it-is, apart or ravenry" if $way !~ m/^(?:apart|ravenry)$/;
    my $inner = $here->can($name) or die "this Cassandane has no $name";
    no strict 'refs';
    no warnings 'redefine';
    *{"${here}::$name"} = sub { $around->($inner, @_) };
}

# The frontend keeps a mupdate, but as a slave; what was the master's port is the master's, or Ravenry's.
sub take_the_master_out
{
    my ($inner, $self, @rest) = @_;

    $inner->($self, @rest);
    my $frontend = $self->{frontend} or return;
    my $port = $frontend->get_service('mupdate')->port();
    my $master_port = $way eq 'ravenry' ? Cassandane::PortManager::alloc() : $port;
    my $slave_port = Cassandane::PortManager::alloc();

    $frontend->remove_service('mupdate');
    $frontend->add_service(name => 'mupdate', port => $slave_port, argv => ['mupdate'], prefork => 1);

    my $config = $self->{_config}->clone();
    $config->set(servername => "localhost:$master_port");
    my $master = Cassandane::Instance->new(
        config => $config,
        setup_mailbox => 0,
        description => "mupdate master for test $self->{_name}",
    );
    $master->add_start(name => 'recover', argv => [qw(ctl_cyrusdb -r)]);
    $master->add_service(name => 'mupdate', port => $master_port, argv => ['mupdate', '-m'], prefork => 1);

    $self->{ravenry_murder} = {
        master => $master,
        port => $port,
        master_port => $master_port,
        slave_port => $slave_port,
    };
}

sub start_the_master_first
{
    my ($inner, $self, @rest) = @_;

    if (my $murder = $self->{ravenry_murder}) {
        $murder->{master}->start();
        start_ravenry($murder) if $way eq 'ravenry';
    }
    return $inner->($self, @rest);
}

# Cassandane judges the master by its log, as every other instance; and its own verdict comes first.
sub stop_the_master_last
{
    my ($inner, $self, @rest) = @_;

    my $murder = delete $self->{ravenry_murder};
    my @errors = $murder ? agreement($murder) : ();
    my $ended = eval { $inner->($self, @rest); 1 };
    my $error = $@;
    if ($murder) {
        push @errors, stop_ravenry($murder);
        push @errors, eval { $murder->{master}->stop() };
        push @{$self->{cleanup_basedirs}}, $murder->{master}->get_basedir();
        die $error if !$ended;
        die $errors[0] if @errors;
    }
    die $error if !$ended;
}

# One for each test, with nothing on disk.
sub start_ravenry
{
    my ($murder) = @_;

    my $home = $murder->{master}->get_basedir() . '/ravenry';
    mkdir $_ or die "cannot make $_: $!" for $home, "$home/state";
    write_file("$home/password", 'mupdpass');
    chmod 0600, "$home/password" or die "cannot chmod: $!";
    write_file("$home/ravenry.toml", <<"CONFIG");
state_dir = "$home/state"

[mupdate]
listen = ["127.0.0.1:$murder->{port}"]
users_file = "$home/users.toml"
frontends = ["127.0.0.1:$murder->{slave_port}"]
allow_plaintext = true

[master]
address = "127.0.0.1:$murder->{master_port}"
user = "mupduser"
password_file = "$home/password"

[admin]
socket = "$home/admin.sock"

[metrics]
listen = "127.0.0.1:0"
CONFIG
    my @command = ($binary, '--config', "$home/ravenry.toml");
    $murder->{command} = \@command;
    system('sh', '-c', 'exec "$@" < "$0"', "$home/password", @command, qw(user add mupduser)) == 0
        or die "cannot add a user to Ravenry";

    my $pid = fork() // die "cannot fork: $!";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null' or POSIX::_exit(70);
        open STDOUT, '>>', "$home/log" or POSIX::_exit(70);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(70);
        $ENV{RAVENRY_LOG} = 'info,ravenry=debug';
        exec @command, 'serve' or POSIX::_exit(70);
    }
    $murder->{pid} = $pid;
    xlog "started Ravenry as $pid, its files are in $home";

    my $limit = time() + $patience;
    until (ravenry_follows(@command)) {
        die "Ravenry ended, see $home/log" if waitpid($pid, POSIX::WNOHANG()) != 0;
        die "Ravenry does not follow the master, see $home/log" if time() > $limit;
        sleep 0.05;
    }
}

sub ravenry_follows
{
    my (@command) = @_;

    my $status = qx(@command status --json 2> /dev/null);
    return $status =~ m/"state"\s*:\s*"following"/;
}

# What a test leaves has to be in Ravenry's list and in the master's alike. Returns what there is to complain about.
sub agreement
{
    my ($murder) = @_;

    return if !$murder->{pid};
    my @command = @{$murder->{command}};
    my $list = qx(@command list export);
    my $plan = qx(@command plan 2>&1);
    my $differs = $?;
    xlog "Ravenry's list:\n$list\nravenry plan:\n$plan";
    return "Ravenry's list lacks the test's user" if $differs == 0 && $list !~ m/user\.cassandane/;
    return $differs == 0 ? () : "Ravenry's list is not the master's:\n$plan";
}

# Returns what there is to complain about.
sub stop_ravenry
{
    my ($murder) = @_;

    my $pid = delete $murder->{pid} // return;
    return "Ravenry ended by itself" if waitpid($pid, POSIX::WNOHANG()) != 0;
    kill TERM => $pid;
    my $limit = time() + $patience;
    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        if (time() > $limit) {
            kill KILL => $pid;
            waitpid($pid, 0);
            return "Ravenry did not end within $patience s";
        }
        sleep 0.05;
    }
    return $? == 0 ? () : "Ravenry ended with status $?";
}

sub write_file
{
    my ($name, $text) = @_;

    open my $file, '>', $name or die "cannot write $name: $!";
    print $file $text;
    close $file or die "cannot write $name: $!";
}

1;
