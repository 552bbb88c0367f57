# SPDX-License-Identifier: MIT OR Apache-2.0
# fish completion for bpfboot

set --local verbs apply check status report diagnose explain undo attach detach events run caps render estimate inspect preflight profiles help
set --local none "not __fish_seen_subcommand_from $verbs"

complete -c bpfboot -f
complete -c bpfboot -s c -l config -r -F -d 'Read FILE, no other place; - is stdin'
complete -c bpfboot -l boot -d 'Obey the kernel command line and the credentials of systemd'
complete -c bpfboot -l allow-untrusted -d 'Read files that users other than root can write'
complete -c bpfboot -l json -d 'One JSON document on stdout, and no other line'
complete -c bpfboot -s q -l quiet -d 'Only failures and the summary'
complete -c bpfboot -l color -x -a 'auto always never' -d 'When to colour'
complete -c bpfboot -s h -l help -d 'The help, or that of a verb'
complete -c bpfboot -s V -l version -d 'The version'

complete -c bpfboot -n $none -a apply -d 'Bring the kernel to the plan, or say what that would take'
complete -c bpfboot -n $none -a check -d 'Compare the kernel with the plan; change nothing'
complete -c bpfboot -n $none -a status -d 'What is loaded and attached, alive or dead, and how busy'
complete -c bpfboot -n $none -a diagnose -d 'Who refused what in the last run, and what mends it'
complete -c bpfboot -n $none -a explain -d 'What an errno, a key, a cause or a capability really means'
complete -c bpfboot -n $none -a report -d 'Print what the last run said again, or draw it'
complete -c bpfboot -n $none -a undo -d 'Take back what apply did'
complete -c bpfboot -n $none -a attach -d 'Attach our XDP programs to an interface that has appeared'
complete -c bpfboot -n $none -a detach -d 'Let go of them again'
complete -c bpfboot -n $none -a events -d 'Follow what the embedded programs tell'
complete -c bpfboot -n $none -a run -d 'Apply, let go of every privilege, and become a command'
complete -c bpfboot -n $none -a caps -d 'The capabilities that this configuration needs, and why'
complete -c bpfboot -n $none -a render -d 'The same as a unit, a container, a pod, or plain settings'
complete -c bpfboot -n $none -a estimate -d 'The memory that maps take, before they are made'
complete -c bpfboot -n $none -a inspect -d 'What an object holds, takes, and how deep its stack gets'
complete -c bpfboot -n $none -a preflight -d 'Will this work on another kernel, which does not run here?'
complete -c bpfboot -n $none -a profiles -d 'List the built-in sets of settings, or one of them'
complete -c bpfboot -n $none -a help -d 'More about a verb'

set --local attach '__fish_seen_subcommand_from attach'
set --local either '__fish_seen_subcommand_from attach detach'
complete -c bpfboot -n '__fish_seen_subcommand_from apply' -l dry-run -d 'Print the plan and change nothing'
complete -c bpfboot -n '__fish_seen_subcommand_from check' -l probe -d 'Also load, run and drop a program'
set --local status_verb '__fish_seen_subcommand_from status'
complete -c bpfboot -n $status_verb -l count -d 'Walk large hash maps, too'
complete -c bpfboot -n $status_verb -l prometheus -r -F -d 'Write a textfile for node_exporter'
complete -c bpfboot -n $status_verb -l sample -x -d 'Have the runs counted and timed for so long'
complete -c bpfboot -n $status_verb -l watch -x -d 'Again and again, so far apart'
complete -c bpfboot -n $either -a '(__fish_print_interfaces)' -d Interface
complete -c bpfboot -n $attach -l configured -d 'Only where the configuration names it'
complete -c bpfboot -n $attach -l mode -x -a 'native generic any offload' -d 'The mode that is proven'
complete -c bpfboot -n $either -l object -x -d 'Only the programs of this object'
complete -c bpfboot -n $either -l program -x -d 'Only this program'
complete -c bpfboot -n $attach -l wait -x -d 'How long to wait for the interface'
set --local kinds 'open exec exit read http dns tls'
complete -c bpfboot -n '__fish_seen_subcommand_from events' -l kind -x -a $kinds -d 'Only this kind of event'
complete -c bpfboot -n '__fish_seen_subcommand_from report' -F
complete -c bpfboot -n '__fish_seen_subcommand_from report' -l svg -r -F -d 'Draw it; - is stdout'
set --local preflight '__fish_seen_subcommand_from preflight'
complete -c bpfboot -n $preflight -l kernel-config -r -F -d 'The configuration of that kernel'
complete -c bpfboot -n $preflight -l btf -r -F -d 'Its /sys/kernel/btf/vmlinux'
complete -c bpfboot -n $preflight -l release -x -d 'Its version'
complete -c bpfboot -n '__fish_seen_subcommand_from run' -x -a '(__fish_complete_subcommand)'
complete -c bpfboot -n '__fish_seen_subcommand_from render' -a 'systemd docker compose kubernetes oci sysctl.d limits'
set --local estimate '__fish_seen_subcommand_from estimate'
complete -c bpfboot -n $estimate -F
complete -c bpfboot -n $estimate -l cpus -x -d 'For a machine of so many possible CPUs'
complete -c bpfboot -n $estimate -l kernel -x -d 'For another kernel'
complete -c bpfboot -n '__fish_seen_subcommand_from inspect' -F
complete -c bpfboot -n '__fish_seen_subcommand_from inspect' -l load -d 'Load each program for the verifier own figures'
complete -c bpfboot -n '__fish_seen_subcommand_from explain' -a '(bpfboot explain 2>/dev/null | string match -r "^    .*" | string split -n " ")'
complete -c bpfboot -n '__fish_seen_subcommand_from profiles' -a 'core network tracing guide'
complete -c bpfboot -n '__fish_seen_subcommand_from help' -a "$verbs"
